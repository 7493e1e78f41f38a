from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hypir_cli.config.run_dir import checkpoint_dir, read_metrics
from hypir_cli.config.train import TrainGanConfig
from hypir_cli.errors import DeviceError
from hypir_cli.train.data.prefetcher import Prefetcher
from hypir_cli.train.runs import train_gan
from hypir_cli.train.runtime import open_runtime
from hypir_cli.train.state import read_state
from tests.training import gan_config, on_two_ranks

_RANK = """
import sys
from pathlib import Path
import torch
from hypir_cli.config.schema import load_yaml
from hypir_cli.config.train import TrainGanConfig, train_config
from hypir_cli.train import runs

torch.set_num_threads(1)
layers = [("file", load_yaml(Path(sys.argv[1])))]
resume = sys.argv[2] if len(sys.argv) > 2 else None
runs.train_gan(train_config(TrainGanConfig, layers, command="gan"), resume=resume)
"""

SETTINGS: dict[str, Any] = {
    "controls.texture": True,
    "controls.generativity": True,
    "schedule.first.steps": 3,
    "model.posterior": "sample",
}


def _train_on_two_ranks(config: TrainGanConfig, folder: Path, *arguments: str) -> None:
    for code, errors in on_two_ranks(_RANK, config, folder, *arguments):
        assert code == 0, errors


class _Rank:
    """Stands for one of two processes."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.world_size = 2
        self.device = torch.device("cpu")


def _first_batch(config: TrainGanConfig, rank: int) -> torch.Tensor:
    runtime: Any = _Rank(rank)
    prefetcher = Prefetcher(config, runtime=runtime, position=0)
    try:
        return prefetcher.next().lq
    finally:
        prefetcher.close()


def test_two_ranks_draw_different_degradations(tmp_path: Path) -> None:
    config = gan_config(
        tmp_path,
        {"optim.batch_size": 1, "data.crop": "center", "data.flip_probability": 0.0},
    )
    for photo in list((tmp_path / "photos").iterdir())[1:]:
        photo.unlink()
    assert not torch.equal(_first_batch(config, 0), _first_batch(config, 1))


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True])
def test_two_processes_with_half_the_batch_equal_one_and_resume(
    tmp_path: Path, shard: bool
) -> None:
    one = gan_config(tmp_path, {**SETTINGS, "output_dir": str(tmp_path / "one")})
    whole = train_gan(one)
    half = {
        **SETTINGS,
        "optim.batch_size": 1,
        "optim.shard_frozen": shard,
        # What users have; on a machine without a GPU every process must still find the other.
        "device": "auto" if not torch.cuda.is_available() else "cpu",
        "output_dir": str(tmp_path / "two"),
    }
    _train_on_two_ranks(gan_config(tmp_path, {**half, "schedule.first.steps": 2}), tmp_path)
    _train_on_two_ranks(gan_config(tmp_path, half), tmp_path, "auto")
    folders = [checkpoint_dir(tmp_path / name, 3) for name in ("one", "two")]
    for name in ("ema.safetensors", "lora.safetensors", "discriminator.safetensors"):
        left, right = (load_file(folder / name) for folder in folders)
        for key, value in left.items():
            torch.testing.assert_close(right[key], value, atol=1e-5, rtol=1e-3, msg=key)
    assert read_state(folders[1]).position == read_state(folders[0]).position == 6
    assert (folders[1] / "random-1.safetensors").is_file()
    assert whole.step == 3
    lines = [read_metrics(tmp_path / name / "metrics.jsonl")[0] for name in ("one", "two")]
    assert lines[0]["loss/pixel"] == pytest.approx(lines[1]["loss/pixel"], rel=1e-4)


def test_processes_that_find_no_others_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alone:
        num_processes = 1
        process_index = 0

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("accelerate.Accelerator", lambda **_: Alone())
    with (
        pytest.raises(DeviceError, match="2 processes were started, but this one found no others"),
        open_runtime(device="cpu", precision="fp32"),
    ):
        pass
