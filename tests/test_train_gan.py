from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hypir_cli.config.adversarial import ControlsConfig
from hypir_cli.config.run_dir import read_metrics
from hypir_cli.errors import CheckpointError, ConfigError, HypirError, InputError
from hypir_cli.models.checkpoint import read_info
from hypir_cli.models.lora import read_lora
from hypir_cli.models.perceptual.distances import TrunkDistance, build_perceptual
from hypir_cli.pixels.texture import texture_richness
from hypir_cli.train.adversarial import (
    discriminator_step,
    generator_step,
    perceptual_window,
    real_images,
)
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.generator import drawn_controls, generate
from hypir_cli.train.runs import train_gan
from hypir_cli.train.stage import Pairs
from hypir_cli.train.step import initial_state, make_optimizers, update
from tests.builders import BUILDERS
from tests.training import SamePairs, gan_config, gan_stage, random_pairs, trainable_names

CONTROLS = {"controls.texture": True, "controls.generativity": True}

pytestmark = pytest.mark.usefixtures("precision")


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(name, marks=() if name in ("tiny", "sd2") else pytest.mark.slow)
        for name in sorted(BUILDERS)
    ],
)
def test_only_adapters_and_controls_train_on_every_backbone(tmp_path: Path, backbone: str) -> None:
    config = gan_config(tmp_path, {"backbone": backbone, **CONTROLS})
    with gan_stage(config) as (stage, _):
        names = trainable_names(stage)
        assert any(".lora_A." in name for name in names)
        assert all(".lora_" in name or name.startswith("control_embedding") for name in names)
        stage.accumulate(random_pairs(), scale=1.0)
        moved = [p.grad for p in stage.groups[0].parameters if p.grad is not None]
        assert any(bool(gradient.abs().sum() > 0) for gradient in moved)


def test_a_fresh_adapter_and_fresh_controls_change_nothing(tmp_path: Path) -> None:
    pairs = random_pairs()
    plain = gan_config(tmp_path, {"lora.rank": 1})
    controlled = gan_config(tmp_path, {"lora.rank": 4, **CONTROLS})
    with gan_stage(plain) as (stage, _):
        before = stage.restore(pairs)
    with gan_stage(controlled) as (stage, _):
        assert torch.equal(stage.restore(pairs), before)


def test_a_generator_step_leaves_the_discriminator_alone(tmp_path: Path) -> None:
    config = gan_config(tmp_path)
    with gan_stage(config) as (stage, runtime):
        models, pairs = stage.models, random_pairs()
        before = _state(models.discriminator)
        restored, _ = generate(models, pairs, config=config)
        generator_step(models, restored, pairs, config=config, runtime=runtime, scale=1.0)
        assert _same(before, _state(models.discriminator))
        assert all(p.grad is None for p in models.discriminator.parameters())
        assert any(p.grad is not None for p in stage.groups[0].parameters)


def test_a_discriminator_step_leaves_the_generator_alone(tmp_path: Path) -> None:
    config = gan_config(tmp_path)
    with gan_stage(config) as (stage, runtime):
        models, pairs = stage.models, random_pairs()
        before = _state(models.backbone.denoiser)
        trunk = _state(models.discriminator.trunk)
        fake = models.discriminator.features(pairs.lq)
        true = models.discriminator.features(pairs.gt)
        discriminator_step(
            models.discriminator,
            true,
            fake,
            config=config.discriminator,
            runtime=runtime,
            scale=1.0,
        )
        assert _same(before, _state(models.backbone.denoiser))
        assert _same(trunk, _state(models.discriminator.trunk))
        assert all(p.grad is None for p in models.backbone.denoiser.parameters())
        assert all(p.grad is not None for p in models.discriminator.heads.parameters())


class _FirstPixels(torch.nn.Module):
    """A perceptual distance that anybody can work out."""

    def forward(self, images: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (images - target).abs().flatten(1).mean(1)


@pytest.mark.parametrize(("samples", "compared"), [(0, 2), (1, 1), (5, 2)])
def test_the_perceptual_loss_looks_at_as_many_images_as_it_is_told(
    tmp_path: Path, samples: int, compared: int
) -> None:
    config = gan_config(
        tmp_path, {"loss.perceptual": 1.0, "loss.perceptual_samples": samples, "loss.pixel": 0.0}
    )
    with gan_stage(config) as (stage, runtime):
        pairs = random_pairs()
        models = replace(stage.models, perceptual=_FirstPixels(), discriminator=None)
        restored, _ = generate(models, pairs, config=config)
        outcome = generator_step(models, restored, pairs, config=config, runtime=runtime, scale=1.0)
        wanted = (restored - pairs.gt)[:compared].abs().mean()
        torch.testing.assert_close(outcome.scalars["loss/perceptual"], wanted)


def test_the_window_of_the_perceptual_loss_moves_with_the_samples_key() -> None:
    shift, side = 3, 16
    places = torch.arange(side * side).reshape(1, 1, side, side)
    corners = set()
    for index in range(200):
        pairs = replace(random_pairs(), keys=(SampleKey(0, 0, index),) * 2)
        window = perceptual_window(pairs, shift=shift)
        seen = window(places)
        assert seen.shape[-2:] == (side - shift, side - shift)
        assert torch.equal(seen, perceptual_window(pairs, shift=shift)(places))
        corners.add(int(seen[0, 0, 0, 0]))
    assert corners == {side * top + left for top in range(4) for left in range(4)}
    assert torch.equal(perceptual_window(pairs, shift=0)(places), places)


def test_told_textures_scatter_around_the_images_own(tmp_path: Path) -> None:
    pairs = random_pairs(count=64)
    latents = torch.zeros(64, 1, 1, 1)
    own = texture_richness(pairs.gt)
    for jitter in (0.0, 2.0):
        config = ControlsConfig(texture=True, texture_dropout=0.0, texture_jitter=jitter)
        _, controls = drawn_controls(latents, pairs, config=config)
        octaves = (controls.texture / own).log2()
        assert octaves.abs().max() <= jitter + 1e-6
        assert octaves.abs().median() <= jitter / 4
        assert bool(octaves.abs().max() > jitter / 2) or jitter == 0.0


def test_the_texture_loss_is_logged_and_moves_the_adapters(tmp_path: Path) -> None:
    alone = {"loss.pixel": 0.0, "loss.adversarial": 0.0, "loss.texture": 1.0}
    controls = {"controls.texture": True, "controls.texture_dropout": 0.0}
    with gan_stage(gan_config(tmp_path, {**alone, **controls})) as (stage, _):
        scalars = stage.accumulate(random_pairs(), scale=1.0)
        assert scalars["loss/texture"] > 0
        gradients = [p.grad for p in stage.groups[0].parameters if p.grad is not None]
        assert any(bool(gradient.abs().sum() > 0) for gradient in gradients)


def test_gradients_through_the_restored_image_equal_those_of_the_summed_loss(
    tmp_path: Path, precision: str
) -> None:
    config = gan_config(tmp_path)
    with gan_stage(config) as (stage, runtime):
        models, pairs = stage.models, random_pairs()
        restored, _ = generate(models, pairs, config=config)
        generator_step(models, restored, pairs, config=config, runtime=runtime, scale=1.0)
        split = [p.grad.clone() for p in stage.groups[0].parameters]
        for parameter in stage.groups[0].parameters:
            parameter.grad = None
        whole, _ = generate(models, pairs, config=config)
        heads = models.discriminator.heads.eval()
        logits = heads(models.discriminator.features(whole))
        adversarial = sum(
            torch.nn.functional.softplus(-level).flatten(1).mean(1) for level in logits
        ).mean()
        mse = (2 * whole - 2 * pairs.gt).square().mean()
        (0.5 * adversarial + mse).backward()
        for one, parameter in zip(split, stage.groups[0].parameters, strict=True):
            close = 1e-4 if precision == "fp32" else 0.02
            assert (one - parameter.grad).norm() <= close * parameter.grad.norm() + 1e-7


def test_sharing_the_trunk_with_the_perceptual_loss_changes_no_gradient(tmp_path: Path) -> None:
    config = gan_config(
        tmp_path,
        {
            "loss": {"perceptual": 5.0, "perceptual_kind": "efficientnet-lite0"},
            "discriminator.trunk": "efficientnet-lite0",
        },
    )
    gradients = []
    for shared in (True, False):
        with gan_stage(config) as (stage, _):
            assert isinstance(stage.models.perceptual, TrunkDistance)
            if not shared:
                stage.models = replace(
                    stage.models, perceptual=build_perceptual("efficientnet-lite0")
                )
            scalars = stage.accumulate(random_pairs(), scale=1.0)
            found = [p.grad for group in stage.groups for p in group.parameters]
            gradients.append((scalars, found))
    (one, left), (other, right) = gradients
    assert one.keys() == other.keys()
    for a, b in zip([*one.values(), *left], [*other.values(), *right], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_what_the_discriminator_is_shown_as_real_can_be_chosen(tmp_path: Path) -> None:
    pairs = random_pairs()
    taught = replace(pairs, target=1.0 - pairs.gt)
    with gan_stage(gan_config(tmp_path)) as (stage, _):
        backbone = stage.models.backbone
        plain = gan_config(tmp_path)
        sharp = gan_config(tmp_path, {"discriminator.real": "sharpened"})
        target = gan_config(tmp_path, {"discriminator.real": "target"})
        decoded = gan_config(tmp_path, {"discriminator.vae_round_trip": True})
        assert torch.equal(real_images(backbone, taught, config=plain), taught.gt)
        assert not torch.equal(real_images(backbone, taught, config=sharp), taught.gt)
        assert torch.equal(real_images(backbone, taught, config=target), 1.0 - taught.gt)
        assert torch.equal(real_images(backbone, pairs, config=target), pairs.gt)
        expected = backbone.decode(backbone.encode(taught.gt))
        assert torch.equal(real_images(backbone, taught, config=decoded), expected)


def test_the_generator_meets_the_images_that_its_judge_takes_for_real(tmp_path: Path) -> None:
    values = {"discriminator.real": "target", "discriminator.loss": "relativistic"}
    pairs = random_pairs()
    gradients = []
    for target in (pairs.gt, 1.0 - pairs.gt):
        with gan_stage(gan_config(tmp_path, {**values, "loss.pixel": 0.0})) as (stage, _):
            scalars = stage.accumulate(replace(pairs, target=target), scale=1.0)
            gradients.append((scalars["grad/adversarial"], scalars["logits/real"]))
    assert all(not torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_a_run_writes_weights_with_a_complete_header_and_metrics(tmp_path: Path) -> None:
    config = gan_config(tmp_path, {**CONTROLS, "logging.samples_every": 4})
    outcome = train_gan(config)
    info = read_info(outcome.result)
    assert info is not None
    assert (info.backbone, info.lora_rank, info.lora_alpha) == ("tiny", 2, 2.0)
    assert (info.timestep, info.coeff_timestep, info.training_step) == (200, 200, 4)
    assert info.ema
    assert info.texture
    assert info.generativity
    assert info.base == config.model.base
    state = read_lora(outcome.result)
    assert state.controls
    assert state.predictor
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert {"loss/pixel", "loss/adversarial", "grad/pixel", "logits/real", "norm/generator"} <= set(
        lines[0]
    )
    assert (tmp_path / "run" / "config.yaml").is_file()
    assert (tmp_path / "run" / "samples" / "step-4.png").is_file()


def test_the_last_update_is_logged_whatever_the_interval(tmp_path: Path) -> None:
    train_gan(gan_config(tmp_path, {"logging.every": 3}))
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [3, 4]


def test_a_checkpoint_holds_nothing_frozen(tmp_path: Path) -> None:
    train_gan(gan_config(tmp_path))
    folder = tmp_path / "run" / "checkpoints" / "step-4"
    assert sorted(path.name for path in folder.iterdir()) == [
        "discriminator.safetensors",
        "ema.safetensors",
        "files.json",
        "lora.safetensors",
        "optimizer-discriminator.safetensors",
        "optimizer-generator.safetensors",
        "random-0.safetensors",
        "state.json",
    ]
    assert all(".lora_" in key for key in read_lora(folder / "lora.safetensors").tensors)


def test_updates_lower_the_loss(tmp_path: Path) -> None:
    config = gan_config(tmp_path, {"loss.adversarial": 0.0, "schedule.first.lr": 1e-2})
    with gan_stage(config) as (stage, runtime):
        optimizers = make_optimizers(stage, config.optim)
        state = initial_state(config, kind="gan", runtime=runtime)
        losses = []
        for _ in range(10):
            outcome = update(stage, optimizers, SamePairs(), state, config=config, runtime=runtime)
            losses.append(outcome.scalars["loss/pixel"])
    assert losses[-1] < 0.97 * losses[0]


def test_the_second_phase_has_its_own_step_size_and_accumulation(tmp_path: Path) -> None:
    config = gan_config(
        tmp_path,
        {
            "schedule": {
                "first": {"steps": 2},
                "second": {"steps": 1, "lr": 5e-4, "accumulation": 3},
            }
        },
    )
    outcome = train_gan(config)
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["lr/model"] for line in lines] == [1e-3, 1e-3, 5e-4]
    assert outcome.step == 3


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path, precision: str) -> None:
    config = gan_config(
        tmp_path, {**CONTROLS, "loss.perceptual": 1.0, "loss.perceptual_kind": "efficientnet-lite0"}
    )
    pairs = random_pairs(count=4)
    gradients, logged = [], []
    for parts in ((slice(0, 4),), (slice(0, 2), slice(2, 4))):
        with gan_stage(config) as (stage, _):
            scalars = [
                stage.accumulate(_part(pairs, part), scale=1.0 / len(parts)) for part in parts
            ]
            found = [p.grad for group in stage.groups for p in group.parameters]
            gradients.append(torch.cat([gradient.flatten() for gradient in found]))
            # Shares are quotients, whose mean is no quotient of means.
            names = [name for name in scalars[0] if not name.startswith("share/")]
            logged.append({name: _root_mean_square(name, scalars) for name in names})
    whole, accumulated = gradients
    assert (whole - accumulated).norm() < (5e-5 if precision == "fp32" else 0.02) * whole.norm()
    for name, value in logged[0].items():
        assert logged[1][name] == pytest.approx(value, rel=1e-3 if precision == "fp32" else 0.05), (
            name
        )


def _part(pairs: Pairs, part: slice) -> Pairs:
    return replace(
        pairs,
        lq=pairs.lq[part],
        gt=pairs.gt[part],
        prompts=pairs.prompts[part],
        keys=pairs.keys[part],
    )


def _root_mean_square(name: str, scalars: list[dict[str, torch.Tensor]]) -> float:
    """The value over several batches: root mean square of gradients, mean of everything else."""
    values = torch.stack([numbers[name].float() for numbers in scalars])
    return float(values.square().mean().sqrt() if name.startswith("grad/") else values.mean())


def test_updates_that_are_not_finite_are_skipped_and_end_the_run_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hypir_cli.train.adversarial.image_loss", lambda a, b, kind: (a - b).sum() * float("nan")
    )
    config = gan_config(tmp_path, {"optim.max_skipped_steps": 3, "schedule.first.steps": 9})
    with pytest.raises(HypirError, match="3 updates in a row were not finite") as caught:
        train_gan(config)
    assert "lower" in caught.value.hint


def test_an_output_folder_with_a_run_is_refused_without_resume(tmp_path: Path) -> None:
    train_gan(gan_config(tmp_path))
    with pytest.raises(ConfigError, match="already holds a run") as caught:
        train_gan(gan_config(tmp_path))
    assert "--resume auto" in caught.value.hint


def test_an_empty_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = gan_config(tmp_path, {"data.sources": [str(tmp_path / "empty")]})
    with pytest.raises(InputError, match="no photographs"):
        train_gan(config)
    assert not (tmp_path / "run").exists()


def test_a_pool_that_the_batch_does_not_divide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pool_size 5 is not a multiple of the batch size 2"):
        train_gan(gan_config(tmp_path, {"data.pool_size": 5}))


def test_a_lora_of_another_backbone_is_refused(tmp_path: Path) -> None:
    outcome = train_gan(gan_config(tmp_path))
    config = gan_config(
        tmp_path,
        {"backbone": "sd2", "lora.start": str(outcome.result), "output_dir": str(tmp_path / "b")},
    )
    with pytest.raises(CheckpointError, match="belongs to the backbone 'tiny', not 'sd2'"):
        train_gan(config)


def test_training_goes_on_from_a_lora_file(tmp_path: Path) -> None:
    first = train_gan(gan_config(tmp_path, {"lora.rank": 3}))
    config = gan_config(
        tmp_path, {"lora.start": str(first.result), "output_dir": str(tmp_path / "b")}
    )
    info = read_info(train_gan(config).result)
    assert info is not None
    assert info.lora_rank == 3
