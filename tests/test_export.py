"""An exported LoRA does in other programs, and back here, what it did before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest

from hypir_cli.config.export import ExportConfig
from hypir_cli.export.run import export_lora
from hypir_cli.models.checkpoint import read_info
from hypir_cli.models.lora import read_lora
from hypir_cli.models.weights import apply_lora
from tests.adapted_families import FAMILIES, RANK, Family, assert_same, make_family

EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES, indirect=True)
_made: dict[str, Family] = {}


@pytest.fixture
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    name: str = request.param
    if name not in _made:
        _made[name] = make_family(name, tmp_path_factory.mktemp(name))
    return _made[name]


@EVERY_FAMILY
@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("peft", "x.safetensors"),
        ("peft", "folder"),
        ("diffusers", "x.safetensors"),
        ("kohya", "x.safetensors"),
    ],
)
def test_every_format_gives_the_same_output_when_read_back(
    family: Family, form: Any, name: str, tmp_path: Path
) -> None:
    result = export_lora(family.lora, tmp_path / name, config=ExportConfig(format=form))
    for merge in (True, False):
        backbone = family.backbone()
        apply_lora(backbone, read_lora(result.path), merge=merge)
        assert_same(family.denoised(backbone), family.adapted)
    assert backbone.traits.coeff_timestep == 150


@EVERY_FAMILY
def test_headers_stay_complete(family: Family, tmp_path: Path) -> None:
    for form in ("peft", "diffusers", "kohya"):
        out = tmp_path / f"{form}.safetensors"
        export_lora(family.lora, out, config=ExportConfig(format=form))  # type: ignore[arg-type]
        info = read_info(out)
        assert info is not None
        assert (info.backbone, info.base, info.training_step) == (family.name, "some/base", 7)
        assert (info.timestep, info.coeff_timestep, info.ema) == (200, 150, True)
        assert info.lora_rank == info.lora_alpha == RANK
        assert info.lora_targets
        assert info.key_format == ("hypir" if form == "peft" else form)


@pytest.mark.parametrize(
    ("form", "family"),
    [
        *(("diffusers", name) for name in FAMILIES),
        # diffusers has no converter for kohya's SD3 names, and one for FLUX.1's full width only: see test_export_kohya.
        *(("kohya", name) for name in ("sd2", "sdxl", "flux2")),
    ],
    indirect=["family"],
)
# diffusers' Euler scheduler meets a recent numpy.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_stock_pipeline_loads_it_and_its_denoiser_says_the_same(
    family: Family, form: Any, tmp_path: Path
) -> None:
    result = export_lora(family.lora, tmp_path / "x.safetensors", config=ExportConfig(format=form))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(family.base)
    pipeline.load_lora_weights(str(result.path.parent), weight_name=result.path.name)
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    assert_same(family.denoised(family.backbone(denoiser)), family.adapted)
