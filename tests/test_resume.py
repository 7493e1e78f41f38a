from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hypir_cli.config.run_dir import checkpoint_dir, read_metrics
from hypir_cli.config.schema import to_yaml
from hypir_cli.errors import CheckpointError
from hypir_cli.train import state
from hypir_cli.train.report import Observer, StepReport
from hypir_cli.train.runs import train_encoder, train_gan
from hypir_cli.train.state import checkpoint_steps, prune
from tests.training import encoder_config, gan_config

CONTROLS = {"controls.texture": True, "controls.generativity": True}


def _same_weights(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.glob("*.safetensors"))
    assert names == sorted(path.name for path in other.glob("*.safetensors"))
    for name in names:
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys()
        for key, value in left.items():
            assert torch.equal(value, right[key]), f"{name}: {key}"


def _interrupt_at(step: int) -> Observer:
    def on_step(report: StepReport) -> None:
        if report.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return Observer(on_step=on_step)


def test_a_run_stopped_and_resumed_equals_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **CONTROLS,
        "model.posterior": "sample",
        "data.prompt_dropout": 0.5,
        "schedule": {"first": {"steps": 3}, "second": {"steps": 2, "accumulation": 2}},
    }
    unbroken = train_gan(gan_config(tmp_path, {**settings, "output_dir": str(tmp_path / "one")}))
    config = gan_config(tmp_path, {**settings, "output_dir": str(tmp_path / "two")})
    stopped = train_gan(config, observer=_interrupt_at(2))
    assert stopped.interrupted
    assert stopped.step == 2
    torch.rand(7)
    resumed = train_gan(config, resume="auto")
    assert not resumed.interrupted
    _same_weights(checkpoint_dir(unbroken.run_dir, 5), checkpoint_dir(resumed.run_dir, 5))
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    timed = ("images_per_second", "memory_gb", "data_wait", "steps_per_second")
    kept = [
        [{k: v for k, v in line.items() if k not in timed} for line in run] for run in (one, two)
    ]
    assert kept[0] == kept[1]


def test_an_encoder_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    unbroken = train_encoder(encoder_config(tmp_path, {"output_dir": str(tmp_path / "one")}))
    config = encoder_config(tmp_path, {"output_dir": str(tmp_path / "two")})
    train_encoder(config, observer=_interrupt_at(3))
    resumed = train_encoder(config, resume=str(tmp_path / "two"))
    _same_weights(checkpoint_dir(unbroken.run_dir, 4), checkpoint_dir(resumed.run_dir, 4))


def test_resume_auto_starts_anew_where_nothing_is(tmp_path: Path) -> None:
    outcome = train_gan(gan_config(tmp_path, {"schedule.first.steps": 1}), resume="auto")
    assert outcome.step == 1


def test_all_files_of_a_checkpoint_have_the_same_permissions(tmp_path: Path) -> None:
    outcome = train_gan(gan_config(tmp_path, {"schedule.first.steps": 1}))
    folder = checkpoint_dir(outcome.run_dir, 1)
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in [tmp_path / "new", outcome.result, *folder.iterdir()]}
    assert len(modes) == 1


def test_a_checkpoint_of_another_command_is_refused(tmp_path: Path) -> None:
    train_encoder(encoder_config(tmp_path, {"schedule.first.steps": 1}))
    with pytest.raises(CheckpointError, match="kind 'encoder', this run trains kind 'gan'"):
        train_gan(gan_config(tmp_path), resume="auto")


def test_a_checkpoint_of_another_backbone_is_refused(tmp_path: Path) -> None:
    train_gan(gan_config(tmp_path, {"schedule.first.steps": 1}))
    other = gan_config(tmp_path, {"backbone": "sd2", "schedule.first.steps": 1})
    with pytest.raises(CheckpointError, match="backbone 'tiny', this run trains backbone 'sd2'"):
        train_gan(other, resume="auto")


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint at"):
        train_gan(gan_config(tmp_path), resume=str(tmp_path / "nowhere"))


def test_only_the_newest_and_the_best_checkpoint_stay(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        checkpoint_dir(tmp_path, step).mkdir(parents=True)
        (checkpoint_dir(tmp_path, step) / state.STATE_FILE).touch()
    prune(tmp_path, keep_last=2, keep=1)
    assert checkpoint_steps(tmp_path) == [1, 3, 4]


def test_a_full_disk_while_saving_is_an_error_and_older_checkpoints_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = gan_config(tmp_path, {"checkpoint.every": 1, "schedule.first.steps": 2})
    save = state.save_file

    def full(tensors: Any, path: Path) -> None:
        if "step-2" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path)

    monkeypatch.setattr(state, "save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        train_gan(config)
    assert "--resume auto" in caught.value.hint
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-1"]
    monkeypatch.undo()
    assert train_gan(config, resume="auto").step == 2


_KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from hypir_cli.config.schema import load_yaml
from hypir_cli.config.train import TrainGanConfig, train_config
from hypir_cli.train import runs, state

# Sums are split over the threads, so only as many as in the test's own process give the same last bits.
torch.set_num_threads(int(sys.argv[2]))
save = state.save_file

def die(tensors, path):
    save(tensors, path)
    if "step-2" in str(path) and "optimizer" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)

state.save_file = die
layers = [("file", load_yaml(Path(sys.argv[1])))]
runs.train_gan(train_config(TrainGanConfig, layers, command="gan"))
"""


def test_a_process_killed_while_saving_leaves_the_checkpoint_before_usable(tmp_path: Path) -> None:
    config = gan_config(tmp_path, {"checkpoint.every": 1, "schedule.first.steps": 2})
    settings = tmp_path / "config.yaml"
    settings.write_text(to_yaml(config), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(settings), str(torch.get_num_threads())],
        check=False,
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (tmp_path / "run" / "checkpoints" / ".step-2.partial").is_dir()
    assert train_gan(config, resume="auto").step == 2
    unbroken = train_gan(
        gan_config(tmp_path, {"schedule.first.steps": 2, "output_dir": str(tmp_path / "other")})
    )
    _same_weights(checkpoint_dir(config.output_dir, 2), checkpoint_dir(unbroken.run_dir, 2))
