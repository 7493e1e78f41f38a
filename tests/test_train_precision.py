"""What training must do in every number format: the weights move, the loss follows, what was learned before is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypir_cli.config.train import RunConfig
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.train.ema import exchanged
from hypir_cli.train.encoder import EncoderStage
from hypir_cli.train.runtime import Runtime, open_runtime
from hypir_cli.train.stage import Stage
from hypir_cli.train.step import initial_state, make_optimizers, update
from tests.training import (
    SamePairs,
    encoder_config,
    gan_config,
    gan_stage,
    load_configured,
    random_pairs,
)

pytestmark = pytest.mark.usefixtures("precision")


def _train(
    stage: Stage, config: RunConfig, runtime: Runtime, *, kind: str, updates: int
) -> list[dict[str, float]]:
    """Numbers of each update on the same batch."""
    optimizers = make_optimizers(stage, config.optim)
    state, prefetcher, seen = initial_state(config, kind=kind, runtime=runtime), SamePairs(), []
    for _ in range(updates):
        done = update(stage, optimizers, prefetcher, state, config=config, runtime=runtime)
        state = done.state
        seen.append(done.scalars)
    return seen


def _clean_error(backbone: Backbone) -> float:
    with torch.no_grad():
        gt = random_pairs().gt
        return float((backbone.decode(backbone.encode(gt)) - gt).square().mean())


@pytest.mark.parametrize("target", ["frozen", "paper", "pixel"])
def test_the_encoder_loss_follows_the_weights(tmp_path: Path, target: str) -> None:
    config = encoder_config(
        tmp_path, {"target": target, "schedule.first": {"steps": 40, "lr": 3e-3}}
    )
    backbone = load_configured(config)
    before = _clean_error(backbone)
    with open_runtime(device="cpu", precision=config.optim.precision) as runtime:
        stage = EncoderStage(backbone, config=config, runtime=runtime)
        losses = [
            numbers["loss/encoder"]
            for numbers in _train(stage, config, runtime, kind="encoder", updates=30)
        ]
    assert len(set(losses)) > 20
    assert losses[-1] < 0.8 * losses[0]
    # A live pass that computes with the original weights learns nothing true and drifts without end.
    assert _clean_error(backbone) < 10.0 * before + 0.1


def test_every_logged_loss_of_the_adversarial_stage_follows_the_weights(tmp_path: Path) -> None:
    config = gan_config(
        tmp_path, {"schedule.first": {"steps": 10, "lr": 1e-2}, "controls.texture": True}
    )
    with gan_stage(config) as (stage, runtime):
        seen = _train(stage, config, runtime, kind="gan", updates=6)
    for name in seen[0]:
        if name.startswith(("loss/", "logits/")):
            assert len({numbers[name] for numbers in seen}) > 3, name


def test_swapped_weights_are_the_ones_that_compute_also_under_one_autocast_block() -> None:
    layer = torch.nn.Linear(8, 8)
    other = [torch.zeros_like(layer.weight), torch.zeros_like(layer.bias)]
    x = torch.ones(1, 8)
    weights = [layer.weight, layer.bias]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first = layer(x)
        with exchanged(weights, other):
            inside = layer(x)
        after = layer(x)
    assert not inside.any()
    assert torch.equal(first, after)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad(), exchanged(weights, other):
            layer(x)
        assert torch.equal(layer(x), first)
