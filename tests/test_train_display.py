"""What a person sees of a training run: a bar that fits, lines off a terminal and scores when they are made."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from hypir_cli.cli import console, training
from hypir_cli.train.report import StepReport
from hypir_cli.train.runs import train_gan
from tests.training import gan_config

SCALARS = {
    "loss/pixel": 0.036512,
    "loss/perceptual": 3.76123,
    "loss/adversarial": 2.94456,
    "loss/discriminator": 6.47123,
    "logits/real": 0.0239,
    "logits/fake": -0.0843,
    "lr/model": 1e-5,
    "images_per_second": 0.199,
    "memory_gb": 1.22,
}


def _terminal(monkeypatch: pytest.MonkeyPatch, *, width: int, live: bool) -> io.StringIO:
    written = io.StringIO()
    err = Console(file=written, width=width, force_terminal=live, highlight=False)
    monkeypatch.setattr(console, "err", err)
    monkeypatch.setattr(console, "on_terminal", lambda: live)
    return written


@pytest.mark.parametrize("total", [400, 1000, 20_000])
def test_at_80_columns_the_bar_keeps_step_remaining_time_and_losses(
    monkeypatch: pytest.MonkeyPatch, total: int
) -> None:
    written = _terminal(monkeypatch, width=80, live=True)
    with training.TrainingProgress() as progress:
        observer = progress.observer()
        for step in range(1, 4):
            observer.on_step(StepReport(step=step, total_steps=total, scalars=SCALARS))
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in written.getvalue().split("\r")]
    last = [line.strip("\n") for line in lines if line.strip()][-1]
    assert len(last.rstrip()) <= 80
    assert f"3/{total}" in last
    assert re.search(r"-:--:--|\d+:\d\d:\d\d", last)
    for shown in ("pixel 0.0365", "perc 3.76", "adv 2.94"):
        assert shown in last
    assert "\u2026" not in last


def test_numbers_that_do_not_fit_are_left_out_whole() -> None:
    assert training.fitting(["a 1", "b 2", "c 3"], width=8) == "a 1  b 2"
    assert training.fitting(["a 1"], width=2) == ""


def test_off_a_terminal_there_is_a_line_for_each_line_of_the_log_and_scores_as_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = _terminal(monkeypatch, width=80, live=False)
    config = gan_config(
        tmp_path,
        {
            "logging.every": 2,
            "schedule.first.steps": 5,
            "validation.sources": [str(tmp_path / "photos")],
            "validation.every": 2,
            "validation.perceptual_kind": "none",
        },
    )
    with training.TrainingProgress() as progress:
        train_gan(config, observer=progress.observer())
    lines = written.getvalue().splitlines()
    assert [line.split()[0] for line in lines if re.match(r"\d+/5 ", line)] == ["2/5", "4/5", "5/5"]
    assert sum(line.startswith("the degraded images: psnr ") for line in lines) == 1
    told = [line for line in lines if line.startswith("validation at ")]
    assert [line.split(":")[0].split()[-1] for line in told] == ["0", "2", "4", "5"]
    assert all("psnr" in line and "ssim" in line for line in told)
