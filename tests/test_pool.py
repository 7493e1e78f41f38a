"""Degraded pairs that are shown several times, and degradations drawn from several presets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hypir_cli.errors import ConfigError
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.data.pool import STREAM, PairPool
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.degradation.run import RunDegrader
from hypir_cli.train.runs import train_encoder
from hypir_cli.train.runtime import open_runtime
from hypir_cli.train.stage import Pairs
from tests.training import encoder_config, gan_config

REUSED = {"optim.batch_size": 4, "data.reuse": 2, "data.reuse_pool": 6}


def batches(config: Any, *, count: int, position: int = 0, needs_lq: bool = True) -> list[Pairs]:
    """The first batches of a prefetcher."""
    with open_runtime(device="cpu", precision="fp32") as runtime:
        prefetcher = Prefetcher(config, runtime=runtime, position=position, needs_lq=needs_lq)
        try:
            return [prefetcher.next() for _ in range(count)]
        finally:
            prefetcher.close()


def test_a_batch_is_full_and_no_two_shown_samples_share_their_draws(tmp_path: Path) -> None:
    shown = batches(encoder_config(tmp_path, REUSED), count=5)
    assert [len(pairs) for pairs in shown] == [4] * 5
    keys = [key for pairs in shown for key in pairs.keys]
    assert len(set(keys)) == 20
    assert {key.rank for key in keys} == {STREAM}


def test_half_of_what_is_shown_was_shown_before(tmp_path: Path) -> None:
    shown = batches(encoder_config(tmp_path, REUSED), count=12)
    pictures = [
        picture(gt, lq) for pairs in shown for gt, lq in zip(pairs.gt, pairs.lq, strict=True)
    ]
    # A crop and its degradation are known by their sums, however they are turned.
    assert 20 <= len(set(pictures)) <= 24


def picture(gt: Tensor, lq: Tensor) -> tuple[float, float]:
    """What turning does not change."""
    return round(gt.double().sum().item(), 5), round(lq.double().sum().item(), 5)


def test_clean_and_degraded_images_are_turned_alike(tmp_path: Path) -> None:
    for pairs in batches(encoder_config(tmp_path, REUSED), count=3, needs_lq=False):
        assert torch.equal(pairs.lq, pairs.gt)


def test_targets_are_turned_with_their_images() -> None:
    gt = torch.rand(3, 3, 8, 8)
    keys = tuple(SampleKey(0, 0, number) for number in range(3))
    fresh = Pairs(lq=gt, gt=gt, target=1.0 - gt, prompts=("",) * 3, keys=keys)
    pool = PairPool(reuse=4, size=3, seed=0, rank=0, world_size=1)
    pool.add(fresh)
    shown = pool.draw(fresh, made=3)
    assert shown.target is not None
    assert shown.target.shape == (12, 3, 8, 8)
    assert torch.equal(shown.target, 1.0 - shown.gt)


def test_a_feed_that_starts_later_shows_what_an_unbroken_one_shows(tmp_path: Path) -> None:
    config = encoder_config(tmp_path, REUSED)
    unbroken = batches(config, count=8)[6:]
    later = batches(config, count=2, position=12)
    for one, other in zip(unbroken, later, strict=True):
        assert one.keys == other.keys
        assert torch.equal(one.lq, other.lq)
        assert torch.equal(one.gt, other.gt)


def test_a_batch_that_the_reuse_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size 3 is not a multiple of data\.reuse 2"):
        encoder_config(tmp_path, {"optim.batch_size": 3, "data.reuse": 2})


def test_a_mix_draws_every_preset_and_each_sample_keeps_its_own(tmp_path: Path) -> None:
    config = encoder_config(
        tmp_path, {"degradation_preset": "light", "degradation_mix": ["realesrgan"]}
    )
    alone = [
        encoder_config(tmp_path, {"degradation_preset": name}) for name in ("light", "realesrgan")
    ]
    images = torch.rand(1, 3, 48, 48)
    counts = [0, 0]
    for number in range(12):
        keys = [SampleKey(0, 0, number)]
        mixed = RunDegrader(config).degrade(images, keys)
        for place, each in enumerate(alone):
            counts[place] += torch.equal(mixed, RunDegrader(each).degrade(images, keys))
    assert sum(counts) == 12
    assert min(counts) >= 2


def test_a_mix_of_unknown_presets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"degradation_mix must name presets .* got 'rain'"):
        encoder_config(tmp_path, {"degradation_mix": ["rain"]})


def test_a_run_with_reuse_reaches_its_end(tmp_path: Path) -> None:
    outcome = train_encoder(encoder_config(tmp_path, {**REUSED, "schedule.first.steps": 2}))
    assert outcome.step == 2


def test_the_texture_loss_needs_the_texture_control(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loss\.texture needs controls.texture"):
        gan_config(tmp_path, {"loss.texture": 0.1})
