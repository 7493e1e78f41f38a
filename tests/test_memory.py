"""The memory table against the networks it speaks of."""

import sys
from pathlib import Path

import pytest
import torch

from hypir_cli.config.families import family_names, find_family
from hypir_cli.errors import ConfigError
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.memory import estimate_tile_bytes, memory_row, memory_table
from hypir_cli.models.placement import quantizable_layers, quantize_weights
from tests.tiny_families import save_flux, save_sdxl

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
SIZED = [name for name in family_names() if find_family(name).parameters]


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZED)
def test_counts_are_those_of_the_full_size_networks(name):
    from full_models import build_full

    with torch.device("meta"):
        backbone = build_full(name)
    sizes = {
        part: sum(value.numel() for value in module.parameters())
        for part, module in backbone.components().items()
    }
    layers = quantizable_layers(backbone.denoiser).values()
    counts = find_family(name).parameters
    assert counts.denoiser == sizes.pop("denoiser")
    assert counts.vae[0] == sizes.pop("vae")
    assert counts.text_encoders == sum(sizes.values())
    assert counts.quantizable == sum(layer.weight.numel() for layer in layers)


def test_every_backbone_but_the_embedded_one_has_a_table():
    assert set(SIZED) == set(family_names()) - {"tiny"}
    assert memory_table("tiny") == []
    with pytest.raises(ConfigError, match="no memory table for tiny"):
        memory_row("tiny", dtype="bf16", quantize="none")


def test_fewer_bits_take_less_and_the_total_holds_either_text_or_denoiser():
    for name in SIZED:
        table = {(row.dtype, row.quantize): row for row in memory_table(name)}
        sizes = [table["bf16", kind].denoiser for kind in ("none", "int8", "nf4")]
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == 3
        for row in table.values():
            assert row.restoring == row.denoiser + row.vae + row.tile
            assert row.total >= max(row.restoring, row.text_encoders + row.vae)


def test_flux_fits_a_24_gb_card_in_8_bits_and_not_in_16():
    rows = {row.quantize: row for row in memory_table("flux") if row.dtype == "bf16"}
    assert rows["none"].total > 24 * 2**30 > rows["int8"].total > rows["nf4"].restoring


def test_a_tile_takes_four_times_the_memory_of_one_of_half_its_side():
    assert estimate_tile_bytes(1024, bytes_per_value=2) == 4 * estimate_tile_bytes(
        512, bytes_per_value=2
    )
    half = memory_row("flux", dtype="bf16", quantize="none", tile=512)
    assert half.tile * 4 == memory_row("flux", dtype="bf16", quantize="none").tile


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.27), ("nf4", 0.16)])
def test_quantised_weights_take_about_what_the_table_says(tmp_path, kind, share):
    backbone = load_backbone("flux", base=str(save_flux(tmp_path)))
    before = sum(layer.weight.nbytes for layer in quantizable_layers(backbone.denoiser).values())
    quantize_weights(backbone.denoiser, kind)
    after = sum(
        value.nbytes
        for layer in quantizable_layers(backbone.denoiser).values()
        for value in stored_tensors(layer.weight)
    )
    # float32 to 8 bits with scales, or to 4 bits with scales; tiny layers carry relatively more scales.
    assert 0.12 < after / before < share + 0.1


def stored_tensors(weight):
    if hasattr(weight, "quant_state"):
        return [weight.data, weight.quant_state.absmax]
    return [getattr(weight, name) for name in ("qdata", "scale")]


def test_a_half_precision_unet_with_a_float32_vae_is_counted_in_float32(tmp_path):
    folder = save_sdxl(tmp_path)
    half = load_backbone("sdxl", base=str(folder), dtype=torch.float16)
    assert half.activation_bytes(256) == estimate_tile_bytes(256, bytes_per_value=4)
