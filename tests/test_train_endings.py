"""Whatever ends a thread or a process of a training run ends the run, soon and with its reason."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from hypir_cli.config.run_dir import checkpoint_dir
from hypir_cli.errors import CheckpointError, HypirError, InputError
from hypir_cli.train.data import prefetcher as feed_module
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.report import Observer
from hypir_cli.train.resume import find_checkpoint
from hypir_cli.train.runs import train_encoder, train_gan
from hypir_cli.train.watch import Watch
from tests.training import encoder_config, gan_config, on_two_ranks


class _Alone:
    rank = 0
    world_size = 1
    device = torch.device("cpu")


class _EndingLoader:
    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        if self._error is not None:
            raise self._error
        return iter(())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory to read training data"),
        (EOFError(), "cannot be read any more: EOFError"),
        (AssertionError("no more"), "AssertionError: no more"),
        (SystemExit(3), "SystemExit: 3"),
        (InputError("no file left"), "no file left"),
        (None, "it stopped"),
    ],
)
def test_whatever_ends_the_reader_ends_the_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException | None, said: str
) -> None:
    monkeypatch.setattr(feed_module, "make_loader", lambda *_, **__: _EndingLoader(error))
    runtime: Any = _Alone()
    prefetcher = Prefetcher(gan_config(tmp_path), runtime=runtime, position=0)
    try:
        with pytest.raises(InputError, match=said):
            prefetcher.next()
    finally:
        prefetcher.close()


def test_a_photograph_whose_decoder_meets_its_end_is_skipped_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = encoder_config(tmp_path, {"schedule.first.steps": 2})
    from PIL import ImageOps

    turn = ImageOps.exif_transpose
    calls = iter([EOFError("end of picture"), MemoryError()])

    def broken(image: Any) -> Any:
        error = next(calls, None)
        if error is not None:
            raise error
        return turn(image)

    monkeypatch.setattr(ImageOps, "exif_transpose", broken)
    told: list[str] = []
    assert train_encoder(config, observer=Observer(on_message=told.append)).step == 2
    assert sum(line.startswith("skipped") for line in told) == 2


def _truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize("harm", ["cut", "gone", "state", "flipped"])
def test_resume_auto_goes_on_from_the_newest_whole_checkpoint_and_says_so(
    tmp_path: Path, harm: str
) -> None:
    settings = {"checkpoint.every": 1, "schedule.first.steps": 2}
    train_encoder(encoder_config(tmp_path, settings))
    newest = checkpoint_dir(tmp_path / "run", 2)
    if harm == "cut":
        _truncate(newest / "optimizer-encoder.safetensors")
    elif harm == "gone":
        (newest / "encoder-live.safetensors").unlink()
    elif harm == "state":
        _truncate(newest / "state.json")
    else:
        content = bytearray((newest / "encoder.safetensors").read_bytes())
        content[8] ^= 0xFF
        (newest / "encoder.safetensors").write_bytes(content)
    told: list[str] = []
    config = encoder_config(tmp_path, {**settings, "schedule.first.steps": 3})
    outcome = train_encoder(config, resume="auto", observer=Observer(on_message=told.append))
    assert outcome.step == 3
    assert any(line.startswith("Warning: ") and str(newest) in line for line in told)
    assert any("resumed from" in line and "step-1" in line for line in told)


def test_a_run_none_of_whose_checkpoints_is_whole_is_an_error_not_a_new_start(
    tmp_path: Path,
) -> None:
    train_encoder(encoder_config(tmp_path, {"schedule.first.steps": 1}))
    _truncate(checkpoint_dir(tmp_path / "run", 1) / "encoder.safetensors")
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        find_checkpoint(tmp_path / "run", "auto")
    with pytest.raises(CheckpointError, match=r"is damaged: encoder\.safetensors has"):
        find_checkpoint(tmp_path / "run", str(checkpoint_dir(tmp_path / "run", 1)))


class _Store:
    """A TCPStore in a dictionary."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.lost = False

    def add(self, key: str, amount: int) -> int:
        if self.lost:
            raise RuntimeError("connection reset")
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount
            return int(self._values[key])

    def check(self, keys: list[str]) -> bool:
        return all(key in self._values for key in keys)

    def get(self, key: str) -> bytes:
        return bytes(self._values[key])

    def compare_set(self, key: str, expected: str, value: str) -> bytes:
        del expected
        with self._lock:
            return bytes(self._values.setdefault(key, value.encode()))


def _watches(store: _Store, ended: list[tuple[int, str]], over: threading.Event) -> list[Watch]:
    def end_of(rank: int) -> Any:
        def end(reason: str) -> None:
            ended.append((rank, reason))
            over.set()

        return end

    return [
        Watch(
            store,
            rank=rank,
            world_size=2,
            end=end_of(rank),
            every=0.01,
            patience=0.3,
            grace=0.05,
        )
        for rank in range(2)
    ]


def test_a_process_that_waits_is_ended_with_the_reason_of_the_one_that_failed() -> None:
    ended: list[tuple[int, str]] = []
    over = threading.Event()
    first, second = _watches(_Store(), ended, over)
    first.start()
    assert second.fail("MemoryError: ") == "process 1: MemoryError: "
    assert over.wait(60)
    assert ended == [(0, "process 1: MemoryError: ")]


def test_a_process_that_falls_silent_is_missed() -> None:
    ended: list[tuple[int, str]] = []
    over = threading.Event()
    first, _ = _watches(_Store(), ended, over)
    first.start()
    assert over.wait(60)
    assert ended == [(0, "process 0: process 1 gives no sign of life any more.")]


def test_a_lost_store_ends_those_who_look_into_it() -> None:
    ended: list[tuple[int, str]] = []
    over = threading.Event()
    store = _Store()
    _, second = _watches(store, ended, over)
    store.lost = True
    second.start()
    assert over.wait(60)
    assert ended == [(1, "the first process of the run is gone.")]


def test_processes_that_leave_in_order_end_nobody() -> None:
    ended: list[tuple[int, str]] = []
    watches = _watches(_Store(), ended, threading.Event())
    for watch in watches:
        watch.start()
    for watch in reversed(watches):
        watch.leave()
    assert not ended


_RANK = """
import os, sys
from pathlib import Path
import torch
from hypir_cli.config.schema import load_yaml
from hypir_cli.config.train import TrainGanConfig, train_config
from hypir_cli.train import loop, runs, state

torch.set_num_threads(1)
harm, rank = sys.argv[2], int(os.environ["RANK"])
if harm == "data" and rank == 1:
    from hypir_cli.train.data import samples
    def missing(*_, **__):
        raise MemoryError
    samples.TrainingSet.__getitem__ = missing
if harm == "publish" and rank == 0:
    def full(*_):
        raise OSError(28, "No space left on device")
    state._publish = full
if harm == "killed" and rank == 1:
    import signal
    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)
    loop.update = die
layers = [("file", load_yaml(Path(sys.argv[1])))]
runs.train_gan(train_config(TrainGanConfig, layers, command="gan"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("data", "not enough memory to read training data"),
        ("publish", "No space left on device"),
        ("killed", "another process of the run cannot be reached any more"),
    ],
)
def test_a_failure_of_one_process_ends_the_other_with_its_reason(
    tmp_path: Path, harm: str, said: str
) -> None:
    config = gan_config(tmp_path, {"optim.batch_size": 1, "checkpoint.every": 1})
    for number, (code, errors) in enumerate(on_two_ranks(_RANK, config, tmp_path, harm)):
        assert code != 0
        if not (harm == "killed" and number == 1):
            assert said in errors


def test_an_error_of_the_block_is_raised_as_it_is_by_a_process_on_its_own(tmp_path: Path) -> None:
    from hypir_cli.train.runtime import open_runtime

    with (
        open_runtime(device="cpu", precision="fp32") as runtime,
        pytest.raises(HypirError, match="as it is"),
        runtime.together(),
    ):
        raise HypirError("as it is")
    assert train_gan(gan_config(tmp_path, {"schedule.first.steps": 1})).step == 1
