"""Reports to Weights & Biases go through accelerate's tracker."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hypir_cli.errors import InputError
from hypir_cli.train.preflight import check_needs
from hypir_cli.train.runs import train_gan
from tests.training import gan_config


class _Wandb:
    """What accelerate uses of the package."""

    def __init__(self) -> None:
        self.begun: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0
        self.config = SimpleNamespace(update=lambda values, **_: self.settings.update(values))

    def init(self, **settings: Any) -> Any:
        self.begun = settings
        return SimpleNamespace(log=self._log, finish=self._finish)

    def Image(self, image: Any) -> tuple[int, ...]:
        return tuple(image.shape)

    def _log(self, values: dict[str, Any], *, step: int) -> None:
        self.logged.append((step, values))

    def _finish(self) -> None:
        self.finished += 1


def test_a_run_reports_its_settings_numbers_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = _Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr("hypir_cli.train.runs.check_needs", lambda _: None)
    config = gan_config(
        tmp_path,
        {
            "logging.wandb": "photos",
            "logging.samples_every": 2,
            "logging.num_samples": 1,
            "schedule.first.steps": 2,
        },
    )
    train_gan(config)
    assert wandb.begun == {"project": "photos", "name": "run"}
    assert wandb.settings["seed"] == config.seed
    numbers = [(step, values) for step, values in wandb.logged if "loss/pixel" in values]
    assert [step for step, _ in numbers] == [1, 2]
    samples = [values["samples"] for _, values in wandb.logged if "samples" in values]
    assert len(samples) == 1
    assert samples[0][0][2] == 3
    assert wandb.finished == 1


def test_without_the_package_the_run_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(InputError, match="package wandb is not installed"):
        check_needs(
            gan_config(
                tmp_path,
                {
                    "logging.wandb": "photos",
                    "discriminator.trunk": "none",
                    "discriminator.patch_width": 4,
                },
            )
        )
