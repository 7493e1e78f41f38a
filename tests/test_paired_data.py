"""Training on photographs whose degraded partners lie in a folder of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hypir_cli.config.data import DataConfig
from hypir_cli.config.train import TrainGanConfig, train_config
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.data.samples import TrainingSet
from hypir_cli.train.report import Observer
from hypir_cli.train.runs import train_encoder, train_gan
from hypir_cli.train.runtime import open_runtime
from hypir_cli.train.validation import Validation
from tests.training import encoder_config, gan_config


def _save_pairs(root: Path, *, shrink: int = 1, count: int = 3) -> tuple[Path, Path]:
    """Photographs whose pixels say where they are, and partners that are their negative."""
    clean, degraded = root / "clean", root / "degraded"
    rng = np.random.default_rng(0)
    for number in range(count):
        small = rng.integers(0, 256, (48 // shrink, 64 // shrink, 3), dtype=np.uint8)
        photo = Image.fromarray(small).resize((64, 48), Image.Resampling.NEAREST)
        for folder, image in ((clean, photo), (degraded, Image.fromarray(255 - small))):
            (folder / "deep").mkdir(parents=True, exist_ok=True)
            suffix = "png" if folder is clean else "tiff"
            image.save(folder / "deep" / f"{number}.{suffix}")
    return clean, degraded


def _config(root: Path, **values: Any) -> DataConfig:
    clean, degraded = _save_pairs(root, **values.pop("pairs", {}))
    return DataConfig(sources=(str(clean),), degraded=(str(degraded),), **values)


def test_a_partner_gets_the_same_crop_and_flip_as_its_photograph(tmp_path: Path) -> None:
    data = TrainingSet(_config(tmp_path, crop_size=24), seed=3)
    for number in range(12):
        sample = data.sample(number)
        assert sample.degraded is not None
        assert sample.image.shape == sample.degraded.shape == (3, 24, 24)
        assert torch.equal(255 - sample.image, sample.degraded)


@pytest.mark.parametrize("settings", [{"resize": "short-side"}, {"small": "enlarge"}, {}])
def test_shrinking_enlarging_and_mirroring_act_on_both(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    side = 24 if "resize" in settings else 80
    sample = TrainingSet(_config(tmp_path, crop_size=side, **settings), seed=0).sample(0)
    assert sample.degraded is not None
    difference = (255 - sample.image.int()) - sample.degraded.int()
    assert difference.abs().max() <= 1


def test_the_sharpest_place_is_the_same_in_both_and_no_scale_changes_them(tmp_path: Path) -> None:
    config = _config(tmp_path, crop_size=24, sharpest_of=4)
    data = TrainingSet(config, seed=3)
    scaled = TrainingSet(replace(config, smallest_scale=0.3), seed=3)
    for number in range(8):
        sample, same = data.sample(number), scaled.sample(number)
        assert sample.degraded is not None
        assert torch.equal(255 - sample.image, sample.degraded)
        assert torch.equal(sample.image, same.image)


@pytest.mark.parametrize("pairs_in", ["data", "validation"])
def test_real_pairs_go_with_a_preset_that_scales_its_crops(tmp_path: Path, pairs_in: str) -> None:
    clean, degraded = map(str, _save_pairs(tmp_path))
    sections: dict[str, dict[str, Any]] = {
        "data": {"sources": [clean], "crop_size": 32},
        "validation": {"sources": [clean], "perceptual_kind": "none"},
    }
    sections[pairs_in] |= {"sources": [clean], "degraded": [degraded]}
    values = {"preset": "tiny", **sections}
    config = train_config(TrainGanConfig, [("run.yaml", values)], command="gan")
    assert config.data.smallest_scale < 1.0
    with open_runtime(device="cpu", precision="fp32") as runtime:
        validation = Validation(config, runtime=runtime)
        assert validation.baseline()["psnr"] > 0.0
    assert TrainingSet(config.data, seed=0).sample(0).image.shape == (3, 32, 32)


def test_a_smaller_partner_is_enlarged_to_its_photograph(tmp_path: Path) -> None:
    data = TrainingSet(_config(tmp_path, crop_size=48, pairs={"shrink": 4}), seed=0)
    sample = data.sample(0)
    assert sample.degraded is not None
    inner = (255 - sample.image.float()).mean() - sample.degraded.float().mean()
    assert abs(float(inner)) < 2.0


def test_partners_that_are_missing_or_of_another_shape_are_skipped_and_named(
    tmp_path: Path,
) -> None:
    clean, degraded = _save_pairs(tmp_path / "pairs")
    (degraded / "deep" / "0.tiff").unlink()
    Image.new("RGB", (20, 40)).save(degraded / "deep" / "1.tiff")
    told: list[str] = []
    config = encoder_config(
        tmp_path,
        {
            "data.sources": [str(clean)],
            "data.degraded": [str(degraded)],
            "schedule.first.steps": 3,
        },
    )
    train_encoder(config, observer=Observer(on_message=told.append))
    skipped = [line for line in told if line.startswith("skipped")]
    assert len(skipped) == 2
    assert any("20 x 40 pixels does not fit a photograph of 64 x 48" in line for line in skipped)


def test_the_feed_and_validation_show_the_partners_that_are_there(tmp_path: Path) -> None:
    clean, degraded = _save_pairs(tmp_path / "pairs")
    config = gan_config(
        tmp_path,
        {
            "data.sources": [str(clean)],
            "data.degraded": [str(degraded)],
            "validation.sources": [str(clean)],
            "validation.degraded": [str(degraded)],
            "validation.perceptual_kind": "none",
            "data.reuse": 2,
            "schedule.first.steps": 2,
        },
    )
    with open_runtime(device="cpu", precision="fp32") as runtime:
        prefetcher = Prefetcher(config, runtime=runtime, position=0)
        try:
            pairs = [prefetcher.next() for _ in range(2)]
        finally:
            prefetcher.close()
        pairs.append(Validation(config, runtime=runtime)._pairs(range(2)))
    for each in pairs:
        torch.testing.assert_close(1.0 - each.gt, each.lq, atol=1e-6, rtol=0.0)
    assert train_gan(config).step == 2


def test_folders_without_a_single_pair_are_refused(tmp_path: Path) -> None:
    clean, _ = _save_pairs(tmp_path / "pairs")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has a partner of its name"):
        TrainingSet(DataConfig(sources=(str(clean),), degraded=(str(tmp_path / "empty"),)), seed=0)
    with pytest.raises(ConfigError, match=r"pairs folders, and .*absent is none"):
        TrainingSet(DataConfig(sources=(str(clean),), degraded=(str(tmp_path / "absent"),)), seed=0)
    with pytest.raises(ConfigError, match=r"data\.degraded names 2 folders, data\.sources 1"):
        gan_config(tmp_path, {"data.degraded": ["a", "b"]})
