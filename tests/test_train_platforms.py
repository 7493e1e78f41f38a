"""Training on platforms that these tests do not run on: what they lack is taken away here."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hypir_cli.config.data import DataConfig
from hypir_cli.evaluate import bridge
from hypir_cli.train import report, state
from hypir_cli.train.data.dataset import make_loader
from hypir_cli.train.degradation import noise
from hypir_cli.train.runs import train_encoder, train_gan
from tests.training import encoder_config, gan_config, save_photos


def test_memory_is_counted_in_the_unit_of_each_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    usage = SimpleNamespace(ru_maxrss=3 * 2**20)
    monkeypatch.setattr(resource, "getrusage", lambda _: usage)
    monkeypatch.setattr(sys, "platform", "linux")
    assert report.peak_resident_bytes() == 3 * 2**30
    monkeypatch.setattr(sys, "platform", "darwin")
    assert report.peak_resident_bytes() == 3 * 2**20


def test_a_run_on_windows_has_no_module_resource_no_fork_server_and_flushes_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Path, int]] = []

    def windows_open(path: Any, flags: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        opened.append((Path(path), flags))
        return os.open(path, flags)

    class Process:
        def memory_info(self) -> Any:
            return SimpleNamespace(peak_wset=5 * 2**30)

    config = encoder_config(tmp_path, {"schedule.first.steps": 1})
    seen: list[float] = []
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(report.psutil, "Process", Process)
    monkeypatch.setattr(state, "sys", SimpleNamespace(platform="win32"))
    named = ("fsync", "close", "replace", "O_RDONLY", "O_RDWR")
    system = {name: getattr(os, name) for name in named}
    monkeypatch.setattr(state, "os", SimpleNamespace(open=windows_open, **system))
    observer = report.Observer(on_step=lambda each: seen.append(each.scalars["memory_gb"]))
    assert train_encoder(config, observer=observer).step == 1
    assert seen == [5.0]
    # Flushing a file that is open for reading alone is an error there.
    assert opened
    assert all(flags & os.O_RDWR for _, flags in opened)


def test_workers_start_anew_where_there_is_no_fork_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DataConfig(
        sources=(str(save_photos(tmp_path / "photos")),), crop_size=16, workers=1, shuffle=False
    )
    expected = next(iter(make_loader(config, batch_size=2, seed=0)))
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    found = next(iter(make_loader(config, batch_size=2, seed=0)))
    assert torch.equal(expected.images, found.images)


def test_a_worker_ends_without_the_clean_up_of_libraries(tmp_path: Path) -> None:
    """On its way out a process started anew aborts where a library's thread still lives."""
    library = "import atexit, os; atexit.register(os.abort); "
    worker = "from hypir_cli.train.data.dataset import leave_without_cleaning_up as leave; leave(0)"
    assert subprocess.run([sys.executable, "-c", library + worker], cwd=tmp_path).returncode == 0


def test_a_set_metric_gets_copies_where_no_links_may_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    (tmp_path / "a.png").write_bytes(b"picture")
    folder = Path(bridge._linked(tmp_path / "set", [tmp_path / "a.png"]))
    assert [path.read_bytes() for path in folder.iterdir()] == [b"picture"]


def test_photon_noise_is_drawn_on_the_cpu_for_devices_that_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def noisy() -> torch.Tensor:
        generators = [torch.Generator().manual_seed(7)]
        return noise.add_poisson_noise(image, scale=[2.0], gray=[False], generators=generators)

    expected = noisy()
    monkeypatch.setattr(noise, "_WITHOUT_POISSON", ("cpu",))
    assert torch.equal(noisy(), expected)


def test_an_update_takes_no_foreach_kernels_of_a_device_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`get_total_norm(foreach=True)` is an error there."""
    monkeypatch.setattr("torch.nn.utils.clip_grad._device_has_foreach_support", lambda _: False)
    monkeypatch.setattr("torch.nn.utils.clip_grad._has_foreach_support", lambda *_: False)
    assert train_gan(gan_config(tmp_path, {"schedule.first.steps": 1})).step == 1


def test_no_float64_goes_to_a_device_that_may_not_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watched(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            moved = function is torch.Tensor.to and isinstance(args[0], torch.Tensor)
            if moved and args[0].dtype == torch.float64:
                named = [each for each in (*args[1:], *kwargs.values()) if each == device]
                kinds = [each for each in (*args[1:], *kwargs.values()) if each is torch.float32]
                assert not named or kinds, "a float64 tensor was moved"
            return function(*args, **kwargs)

    # The runtime's own device object is told from other ways to say cpu by its index.
    device = torch.device("cpu", 0)
    monkeypatch.setattr("accelerate.Accelerator.device", property(lambda _: device))
    settings = {"controls.texture": True, "controls.generativity": True, "schedule.first.steps": 1}
    with Watched():
        assert train_gan(gan_config(tmp_path, settings)).step == 1
