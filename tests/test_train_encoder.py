from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hypir_cli.config.run_dir import read_metrics
from hypir_cli.errors import CheckpointError
from hypir_cli.models.checkpoint import read_info
from hypir_cli.models.encoder import load_encoder
from hypir_cli.train import runs
from hypir_cli.train.encoder import EncoderStage
from hypir_cli.train.runs import train_encoder, train_gan
from hypir_cli.train.runtime import open_runtime
from tests.builders import BUILDERS, load_built
from tests.training import encoder_config, gan_config, load_configured, random_pairs

pytestmark = pytest.mark.usefixtures("precision")


def test_only_the_encoder_trains(tmp_path: Path) -> None:
    config = encoder_config(tmp_path)
    backbone = load_configured(config)
    with open_runtime(device="cpu", precision=config.optim.precision) as runtime:
        stage = EncoderStage(backbone, config=config, runtime=runtime)
        stage.accumulate(random_pairs(), scale=1.0)
    trained = set(map(id, stage.groups[0].parameters))
    for name, module in backbone.components().items():
        for parameter in module.parameters():
            assert parameter.requires_grad == (id(parameter) in trained), name
            assert parameter.requires_grad or parameter.grad is None


def test_the_frozen_target_is_the_original_encoder_whatever_the_live_one_learned(
    tmp_path: Path,
) -> None:
    config = encoder_config(tmp_path)
    backbone = load_configured(config)
    pairs = random_pairs()
    with torch.no_grad():
        original = backbone.decode(backbone.encode(pairs.gt))
    with open_runtime(device="cpu", precision=config.optim.precision) as runtime:
        stage = EncoderStage(backbone, config=config, runtime=runtime)
        with torch.no_grad():
            for parameter in stage.groups[0].parameters:
                parameter.add_(0.1)
        moved = backbone.decode(backbone.encode(pairs.gt)).detach()
        loss = stage.accumulate(pairs, scale=1.0)["loss/encoder"]
        restored = stage.restore(pairs)
    assert not torch.allclose(moved, original)
    torch.testing.assert_close(loss, 4 * (restored - original).square().mean())


@pytest.mark.parametrize("target", ["frozen", "paper", "pixel"])
def test_a_run_writes_an_encoder_that_a_backbone_takes(tmp_path: Path, target: str) -> None:
    config = encoder_config(tmp_path, {"target": target, "schedule.first.steps": 2})
    outcome = train_encoder(config)
    info = read_info(outcome.result)
    assert info is not None
    assert (info.kind, info.backbone, info.training_step, info.ema) == ("encoder", "tiny", 2, True)
    backbone = load_configured(config)
    images = random_pairs().gt
    before = backbone.encode(images)
    load_encoder(backbone, outcome.result)
    assert not torch.equal(backbone.encode(images), before)
    assert "psnr/clean" in read_metrics(tmp_path / "run" / "metrics.jsonl")[0]


def test_the_stage_trains_without_a_denoiser_and_without_text_encoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[EncoderStage] = []

    def watched(*arguments: Any, **options: Any) -> EncoderStage:
        stages.append(EncoderStage(*arguments, **options))
        return stages[0]

    monkeypatch.setattr(runs, "EncoderStage", watched)
    base = BUILDERS["sd2"](tmp_path / "sd2")
    changes = {"model.backbone": "sd2", "model.base": str(base), "schedule.first.steps": 1}
    assert train_encoder(encoder_config(tmp_path, changes)).step == 1
    backbone = stages[0].backbone
    assert set(backbone.components()) == {"vae", "denoiser"}
    assert all(value.is_meta for value in backbone.denoiser.parameters())


def test_the_adversarial_stage_starts_from_a_fine_tuned_encoder(tmp_path: Path) -> None:
    encoder = train_encoder(encoder_config(tmp_path, {"schedule.first.steps": 1})).result
    config = gan_config(
        tmp_path,
        {
            "model.encoder": str(encoder),
            "output_dir": str(tmp_path / "gan"),
            "schedule.first.steps": 1,
        },
    )
    assert train_gan(config).step == 1


def test_an_encoder_of_another_backbone_is_refused(tmp_path: Path) -> None:
    encoder = train_encoder(encoder_config(tmp_path, {"schedule.first.steps": 1})).result
    other = load_built("sd2", BUILDERS["sd2"](tmp_path / "sd2"))
    with pytest.raises(CheckpointError, match="trained for the backbone tiny, not for sd2"):
        load_encoder(other, encoder)


def test_a_lora_given_as_encoder_is_refused(tmp_path: Path) -> None:
    lora = train_gan(gan_config(tmp_path, {"schedule.first.steps": 1})).result
    with pytest.raises(CheckpointError, match="holds lora weights, encoder weights are needed"):
        load_encoder(load_configured(gan_config(tmp_path)), lora)
