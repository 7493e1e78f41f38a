from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hypir_cli.train.losses import discriminator_loss, generator_loss, multilevel_bce, pixel_loss

GOLDEN = load_file(Path(__file__).parent / "data" / "train" / "disc_loss.safetensors")
LOGITS = [GOLDEN[f"logits{level}"] for level in range(4)]


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("bce08_real", 0.8),
        ("bce08_G", 0.8),
        ("bce08_fake", 0.0),
        ("bce1_real", 1.0),
        ("bce1_G", 1.0),
        ("bce1_fake", 0.0),
    ],
)
def test_cross_entropy_over_levels_agrees_with_the_release(name: str, target: float) -> None:
    torch.testing.assert_close(multilevel_bce(LOGITS, target=target), GOLDEN[name][:, 0])


def test_the_smoothed_generator_loss_has_the_gradient_of_the_release() -> None:
    logits = [level.clone().requires_grad_() for level in LOGITS]
    generator_loss(logits, target=0.8).backward()
    for level, value in enumerate(logits):
        torch.testing.assert_close(value.grad, GOLDEN[f"bce08_G_mean_grad_logits{level}"])


def test_the_discriminator_loss_is_real_plus_fake() -> None:
    expected = (GOLDEN["bce08_real"] + GOLDEN["bce08_fake"]).mean()
    torch.testing.assert_close(discriminator_loss(LOGITS, LOGITS, real_target=0.8), expected)


@pytest.mark.parametrize(("target", "reverses"), [(0.8, True), (1.0, False)])
def test_only_a_smoothed_target_reverses_the_gradient_of_a_convincing_fake(
    target: float, reverses: bool
) -> None:
    logit = torch.tensor([[1.5]], requires_grad=True)
    generator_loss([logit], target=target).backward()
    assert logit.grad is not None
    assert (float(logit.grad) > 0) == reverses


def test_the_pixel_loss_is_measured_between_minus_one_and_one() -> None:
    black, white = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    assert float(pixel_loss(black, white)) == 4.0
