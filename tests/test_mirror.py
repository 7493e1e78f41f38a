"""Results of mirrored images agree with those of the images themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hypir_cli.errors import ConfigError
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.mirror import mirror_loss, with_mirrored
from hypir_cli.train.runs import train_gan
from hypir_cli.train.symmetry import SYMMETRIES, mirrored, mirrored_back
from tests.training import gan_config, gan_stage, random_pairs


def test_each_symmetry_is_another_and_is_undone() -> None:
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    seen = [mirrored(image, symmetry) for symmetry in range(SYMMETRIES)]
    assert len({tuple(each.flatten().tolist()) for each in seen}) == SYMMETRIES
    assert torch.equal(seen[0], image)
    for symmetry, each in enumerate(seen):
        assert torch.equal(mirrored_back(each, symmetry), image)


def test_pairs_stand_beside_their_mirror_images() -> None:
    pairs = random_pairs(count=3)
    doubled, symmetry = with_mirrored(pairs)
    assert len(doubled) == 6
    assert doubled.keys == pairs.keys * 2
    assert doubled.target is None
    for before, after in ((pairs.lq, doubled.lq), (pairs.gt, doubled.gt)):
        assert torch.equal(after[:3], before)
        assert torch.equal(after[3:], mirrored(before, symmetry))
    assert with_mirrored(pairs)[1] == symmetry


def test_every_symmetry_but_none_is_drawn() -> None:
    found = set()
    for number in range(100):
        pairs = replace(random_pairs(count=1), keys=(SampleKey(0, 0, number),))
        found.add(with_mirrored(pairs)[1])
    assert found == set(range(1, SYMMETRIES))


def results(symmetry: int, *, stripes: float = 0.0) -> Tensor:
    """Of a generator that returns its input, with vertical stripes that start at the left."""
    straight = random_pairs(count=2).lq
    columns = torch.tensor([stripes, stripes, 0.0, 0.0]).repeat(straight.shape[-1] // 4)
    return torch.cat((straight, mirrored(straight, symmetry))) + columns


@pytest.mark.parametrize("symmetry", range(1, SYMMETRIES))
def test_what_is_in_the_image_costs_nothing(symmetry: int) -> None:
    assert float(mirror_loss(results(symmetry), symmetry=symmetry)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("symmetry", "cost"), [(4, 0.2), (6, 0.0), (2, 0.2), (1, 0.1), (7, 0.1)])
def test_stripes_of_the_generators_own_cost_where_they_are_turned_elsewhere(
    symmetry: int, cost: float
) -> None:
    loss = mirror_loss(results(symmetry, stripes=0.1), symmetry=symmetry)
    assert float(loss) == pytest.approx(cost, abs=1e-5)


def test_where_noise_was_mixed_in_a_result_may_differ() -> None:
    images = results(1)
    images[1] += 0.25  # its mirror image lacks it
    for levels, cost in (
        ([0.0, 0.0], 0.25),
        ([0.0, 0.5], 0.0),
        ([0.5, 0.0], 0.5),
        ([0.5, 0.5], 0.0),
    ):
        asked = Controls(generativity=torch.tensor(levels * 2))
        loss = mirror_loss(images, symmetry=1, controls=asked)
        assert float(loss) == pytest.approx(cost, abs=1e-5)


MIRROR = {"loss.mirror": 2.0, "lora.rank": "full"}


@pytest.mark.parametrize("controls", [False, True])
@pytest.mark.parametrize("alone", [0, 1])
def test_both_halves_train_the_generator(tmp_path: Path, alone: int, controls: bool) -> None:
    asked = {"controls.texture": controls, "controls.generativity": controls}
    config = gan_config(tmp_path, {**MIRROR, **asked, "discriminator.alone_steps": alone})
    with gan_stage(config) as (stage, _):
        found = stage.accumulate(random_pairs(), scale=1.0)
        trained = list(stage.models.trained.named().values())
        moved = sum(float(p.grad.abs().sum()) for p in trained if p.grad is not None)
    assert ("loss/mirror" in found) == (not alone)
    assert (moved > 0) == (not alone)
    if not alone:
        assert 0.0 <= float(found["loss/mirror"]) < 2.0
        assert float(found["grad/mirror"]) >= 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_makes_results_agree(tmp_path: Path, precision: str) -> None:
    """The mirror loss alone brings a fresh network's results nearer to one another."""
    only = {"loss.adversarial": 0.0, "loss.perceptual": 0.0, "loss.pixel": 0.0}
    config = gan_config(tmp_path, {**MIRROR, **only, "optim.precision": precision})
    with gan_stage(config) as (stage, _):
        pairs = random_pairs()
        weights = [p for p in stage.models.trained.named().values() if p.requires_grad]
        optimizer = torch.optim.Adam(weights, lr=1e-3)
        losses = []
        for _ in range(8):
            optimizer.zero_grad()
            losses.append(float(stage.accumulate(pairs, scale=1.0)["loss/mirror"]))
            optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_with_mirrored_images_ends_and_goes_on(tmp_path: Path) -> None:
    first = train_gan(gan_config(tmp_path, MIRROR))
    longer = gan_config(tmp_path, {**MIRROR, "schedule.first.steps": 6})
    assert train_gan(longer, resume="auto").step > first.step


def test_a_negative_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        gan_config(tmp_path, {"loss.mirror": -1.0})
