"""One loss that drowns the others at the image is named once, and an even mixture is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypir_cli.train.balance import AFTER, Balance
from hypir_cli.train.report import Observer
from hypir_cli.train.runs import train_gan
from tests.training import gan_config


def said(**norms: float) -> list[str]:
    balance = Balance()
    scalars = {f"grad/{name}": norm for name, norm in norms.items()} | {"loss/pixel": 1e9}
    return [text for _ in range(2 * AFTER) if (text := balance.add(scalars))]


def test_a_drowned_loss_is_named_once_with_what_to_change() -> None:
    [text] = said(pixel=200.0, adversarial=1.0, perceptual=50.0)
    assert "pixel loss is 200 times that of the adversarial loss" in text
    assert "lower loss.pixel or raise loss.adversarial" in text


def test_a_loss_without_any_gradient_counts_as_drowned() -> None:
    [text] = said(pixel=1.0, grid=0.0)
    assert "infinitely" in text


@pytest.mark.parametrize("norms", [{"pixel": 1.0, "adversarial": 0.011}, {"pixel": 1.0}, {}])
def test_an_even_mixture_and_a_single_loss_are_fine(norms: dict[str, float]) -> None:
    assert said(**norms) == []


def test_a_run_tells_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypir_cli.train.balance.AFTER", 2)
    messages: list[str] = []
    config = gan_config(tmp_path, {"loss.pixel": 1e6})
    train_gan(config, observer=Observer(on_message=messages.append))
    assert sum("which has no say then" in text for text in messages) == 1
