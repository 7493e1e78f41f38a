"""The judge of every pixel, the relativistic loss, the gradient penalty, the time alone, and the balance of the losses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hypir_cli.config.adversarial import DiscriminatorConfig
from hypir_cli.errors import ConfigError
from hypir_cli.models.checkpoint import load_tensors
from hypir_cli.models.perceptual.distances import build_vgg_loss
from hypir_cli.models.perceptual.trunks import build_trunk
from hypir_cli.train.adversarial import shares
from hypir_cli.train.monitor import read_metrics
from hypir_cli.train.networks.discriminator import Discriminator
from hypir_cli.train.networks.losses import relativistic_loss, steadiness_loss
from hypir_cli.train.networks.unet import PixelUNet
from hypir_cli.train.runs import train_gan
from tests.training import gan_config, gan_stage, random_pairs

PIXELS = {
    "discriminator.trunk": "none",
    "discriminator.pixel_width": 4,
    "discriminator.pixel_scales": 2,
    "discriminator.loss": "relativistic",
    "discriminator.r1": 10.0,
}


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (8, 8)])
def test_the_pixel_judge_has_a_logit_for_every_pixel(size: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *size, requires_grad=True)
    logits = PixelUNet(4, scales=3)(images)
    assert logits.shape == (2, 1, *size)
    logits.sum().backward()
    assert images.grad is not None
    assert bool((images.grad.abs().sum(1) > 0).all())


def test_logits_that_drifted_together_keep_their_differences_in_bfloat16() -> None:
    judge = PixelUNet(4, scales=2)
    images = torch.rand(2, 3, 32, 32)
    logits = []
    for drift in (0.0, 100.0):
        torch.nn.init.constant_(judge.last.bias, drift)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logits.append(judge.eval()(images) - drift)
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=0)


def test_the_pixel_judge_stands_beside_the_heads_of_a_trunk() -> None:
    discriminator = Discriminator(
        build_trunk("random-small"),
        config=DiscriminatorConfig(hidden=8, patch_width=4, pixel_width=4, pixel_scales=2),
    )
    features = discriminator.features(torch.rand(2, 3, 32, 32))
    shapes = [tuple(level.shape) for level in discriminator.heads(features)]
    assert shapes[-2:] == [(2, 4, 4), (2, 32, 32)]


def test_the_relativistic_loss_compares_each_place_with_its_own_partner() -> None:
    real = [torch.tensor([[[2.0, 0.0]]]), torch.tensor([[1.0]])]
    fake = [torch.tensor([[[0.0, 0.0]]]), torch.tensor([[0.0]])]
    expected = (math.log1p(math.exp(-2)) + math.log(2)) / 2 + math.log1p(math.exp(-1))
    assert relativistic_loss(real, fake).item() == pytest.approx(expected)
    swapped = [level.flip(-1) for level in fake]
    assert relativistic_loss(real, swapped) == relativistic_loss(real, fake)
    assert relativistic_loss(fake, real) > relativistic_loss(real, fake)


def test_the_penalty_is_zero_for_a_judge_that_noise_does_not_move() -> None:
    logits = [torch.randn(2, 4, 4), torch.randn(2, 1)]
    assert steadiness_loss(logits, logits) == 0
    moved = [level + 2.0 for level in logits]
    assert steadiness_loss(logits, moved).item() == pytest.approx(8.0)


def test_a_relativistic_generator_step_and_judge_pull_the_logits_opposite_ways() -> None:
    logits = torch.randn(2, 8, 8, requires_grad=True)
    real = torch.randn(2, 8, 8)
    (generator,) = torch.autograd.grad(relativistic_loss([logits], [real]), logits)
    (judge,) = torch.autograd.grad(relativistic_loss([real], [logits]), logits)
    assert bool((generator < 0).all())
    assert bool((judge > 0).all())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rank", [2, "full"])
def test_a_run_with_a_pixel_judge_logs_its_penalty_and_the_shares(
    tmp_path: Path, precision: str, rank: int | str
) -> None:
    config = gan_config(tmp_path, {**PIXELS, "optim.precision": precision, "lora.rank": rank})
    train_gan(config)
    lines = [
        line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "lr/model" in line
    ]
    assert len(lines) == 4
    for line in lines:
        assert math.isfinite(line["loss/r1"])
        assert math.isfinite(line["loss/discriminator"])
        assert line["share/pixel"] + line["share/adversarial"] == pytest.approx(1.0, abs=1e-3)


def test_the_relativistic_judge_learns_to_tell_sharp_from_smooth(tmp_path: Path) -> None:
    config = gan_config(tmp_path, {**PIXELS, "discriminator.r1": 0.0, "schedule.first.steps": 1})
    with gan_stage(config) as (stage, _):
        judge = stage.models.discriminator
        optimizer = torch.optim.Adam(judge.heads.parameters(), lr=4e-3)
        losses = []
        for seed in range(80):
            sharp = random_pairs(seed=seed).gt
            smooth = torch.nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1)
            heads = judge.heads.train()
            loss = relativistic_loss(heads(judge.features(sharp)), heads(judge.features(smooth)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]


def test_alone_the_judge_trains_and_the_generator_does_not(tmp_path: Path) -> None:
    config = gan_config(tmp_path, {**PIXELS, "discriminator.alone_steps": 2})
    with gan_stage(config) as (stage, _):
        for number in range(3):
            for group in stage.groups:
                for parameter in group.parameters:
                    parameter.grad = None
            stage.accumulate(random_pairs(), scale=1.0)
            generator, judge = (
                any(parameter.grad is not None for parameter in group.parameters)
                for group in stage.groups
            )
            assert judge
            assert generator == (number == 2)
            stage.updated()


def test_a_run_that_stops_while_the_judge_is_alone_goes_on_alone(tmp_path: Path) -> None:
    def run(name: str, steps: int, resume: str | None = None) -> dict[str, torch.Tensor]:
        overrides = {
            **PIXELS,
            "discriminator.alone_steps": 3,
            "schedule.first.steps": steps,
            "output_dir": str(tmp_path / name),
        }
        outcome = train_gan(gan_config(tmp_path, overrides), resume=resume)
        return load_tensors(outcome.result)[0]

    unbroken = run("one", 4)
    run("two", 2)
    resumed = run("two", 4, resume="auto")
    assert all(torch.equal(unbroken[key], resumed[key]) for key in unbroken)


BOTH = {
    "discriminator.trunk": "random-small",
    "discriminator.patch_width": 4,
    "discriminator.pixel_width": 4,
    "discriminator.pixel_scales": 2,
}


@pytest.mark.parametrize("loss", ["standard", "relativistic"])
def test_heads_on_the_images_have_a_weight_of_their_own(tmp_path: Path, loss: str) -> None:
    def scalars(**weights: float) -> dict[str, float]:
        overrides = {f"loss.{name}": value for name, value in weights.items()}
        config = gan_config(tmp_path, {**BOTH, "discriminator.loss": loss, **overrides})
        torch.manual_seed(0)
        with gan_stage(config) as (stage, _):
            found = stage.accumulate(random_pairs(), scale=1.0)
        return {name: float(value) for name, value in found.items()}

    together = scalars(adversarial=0.5)
    apart = scalars(adversarial=0.5, adversarial_images=0.5)
    split = apart["loss/adversarial"] + apart["loss/adversarial_images"]
    assert split == pytest.approx(together["loss/adversarial"], rel=1e-5)
    stronger = scalars(adversarial=0.5, adversarial_images=5.0)
    for name, factor in (("adversarial", 1.0), ("adversarial_images", 10.0)):
        gradient = f"grad/{name}"
        assert stronger[gradient] == pytest.approx(factor * apart[gradient], rel=1e-4)
    assert "grad/adversarial_images" not in scalars(adversarial=0.5, adversarial_images=0.0)


@pytest.mark.parametrize("missing", ["trunk", "heads", "adversarial"])
def test_a_weight_for_heads_on_the_images_needs_two_kinds_of_heads(
    tmp_path: Path, missing: str
) -> None:
    without = {
        "trunk": {"discriminator.trunk": "none"},
        "heads": {"discriminator.patch_width": 0, "discriminator.pixel_width": 0},
        "adversarial": {"loss.adversarial": 0.0},
    }
    with pytest.raises(ConfigError, match="adversarial_images needs"):
        gan_config(tmp_path, {**BOTH, **without[missing], "loss.adversarial_images": 0.1})


TAUGHT = {**BOTH, "loss.adversarial_images_samples": "taught", "discriminator.loss": "relativistic"}


@pytest.mark.parametrize("alone", [0, 1])
@pytest.mark.parametrize("taught", [0, 1, 2])
def test_heads_on_the_images_can_be_left_to_what_a_teacher_made(
    tmp_path: Path, taught: int, alone: int
) -> None:
    config = gan_config(
        tmp_path,
        {
            **TAUGHT,
            "discriminator.real": "target",
            "loss.adversarial_images": 0.5,
            "discriminator.alone_steps": alone,
        },
    )
    pairs = random_pairs()
    target = pairs.gt.clone()
    target[:taught] = 1.0 - target[:taught]
    torch.manual_seed(0)
    with gan_stage(config) as (stage, _):
        found = stage.accumulate(replace(pairs, target=target), scale=1.0)
        assert stage.models.discriminator is not None
        heads = stage.models.discriminator.heads
        for head, learns in (
            (heads.patches, taught > 0),
            (heads.pixels, taught > 0),
            (heads.maps, True),
        ):
            assert head is not None
            moved = sum(float(p.grad.abs().sum()) for p in head.parameters() if p.grad is not None)
            assert (moved > 1e-4) == learns
    if not alone:
        assert (float(found["grad/adversarial_images"]) > 0) == (taught > 0)
        assert float(found["grad/adversarial"]) > 0


@pytest.mark.parametrize(
    "other",
    [
        {"discriminator.loss": "standard"},
        {"discriminator.real": "clean"},
        {"discriminator.vae_round_trip": True},
        {"discriminator.patch_width": 0, "discriminator.pixel_width": 0},
    ],
)
def test_heads_left_to_a_teacher_compare_with_what_it_made(
    tmp_path: Path, other: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match="samples taught needs"):
        gan_config(tmp_path, {**TAUGHT, "discriminator.real": "target", **other})


def test_a_negative_weight_for_heads_on_the_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        gan_config(tmp_path, {**BOTH, "loss.adversarial_images": -0.1})


def test_time_alone_without_a_judge_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="alone_steps needs loss"):
        gan_config(tmp_path, {"discriminator.alone_steps": 2, "loss.adversarial": 0.0})


def test_shares_of_the_gradient_sum_to_one_and_one_loss_has_none() -> None:
    scalars = {"grad/pixel": torch.tensor(1.0), "grad/adversarial": torch.tensor(3.0)}
    assert {k: float(v) for k, v in shares(scalars).items()} == {
        "share/pixel": 0.25,
        "share/adversarial": 0.75,
    }
    assert shares({"grad/pixel": torch.tensor(1.0)}) == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_raw_features_see_contrast_and_equal_images_are_at_distance_zero(
    dtype: torch.dtype,
) -> None:
    pytest.importorskip("stlpips_pytorch")
    levels = (0.1, 0.1, 1.0, 1.0, 1.0)
    distance = build_vgg_loss("stlpips", features="raw", levels=levels)
    images = torch.rand(1, 3, 32, 32)
    faint = 0.5 + 0.1 * (images - 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert float(distance(images, images)) == 0.0
        near, far = float(distance(0.95 * images, images)), float(distance(faint, images))
    assert 0 < near < far


def test_only_the_weighted_levels_count() -> None:
    pytest.importorskip("stlpips_pytorch")
    images, target = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    parts = [
        float(build_vgg_loss("stlpips", features="raw", levels=levels)(images, target))
        for levels in ((1, 0, 0, 0, 0), (0, 1, 1, 1, 1), (1, 1, 1, 1, 1))
    ]
    assert parts[0] + parts[1] == pytest.approx(parts[2], rel=1e-4)


def test_raw_features_of_a_network_without_vgg_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="perceptual_kind stlpips or vgg16-hed"):
        gan_config(tmp_path, {"loss.perceptual_features": "raw"})
