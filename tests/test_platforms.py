"""What only Windows, macOS or Apple's GPUs do differently, driven on stand-ins for them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import hypir_cli
from hypir_cli.evaluate import bridge
from hypir_cli.evaluate.run import _device
from hypir_cli.images.atomic import atomic_file
from hypir_cli.models import device
from hypir_cli.models.allocator import keep_freed_memory
from hypir_cli.models.execution import use_channels_last
from hypir_cli.pixels.color import ChannelMoments
from hypir_cli.pixels.metrics.color_shift import lab
from hypir_cli.pixels.metrics.fidelity import channels, psnr, ssim
from hypir_cli.pixels.precision import in_float64

MPS = torch.device("mps")
CPU = torch.device("cpu")


class NoFloat64(TorchDispatchMode):
    """Refuses float64 on MPS as a Mac does, conversions on the way from there included."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        on_mps = any(value.device.type == "mps" for value in tensors)
        if on_mps and kwargs.get("dtype") == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        result = func(*args, **kwargs)
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor) and value.device.type == "mps":
                assert value.dtype != torch.float64
        return result


@pytest.fixture
def apple_gpu() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True), NoFloat64():
        yield


@pytest.mark.usefixtures("apple_gpu")
def test_the_stand_in_refuses_float64_as_a_mac_does():
    images = torch.rand(1, 3, 16, 16, device=MPS)
    with pytest.raises(TypeError, match="float64"):
        images.to(torch.float64)
    with pytest.raises(TypeError, match="float64"):
        images.to(device="cpu", dtype=torch.float64)


@pytest.mark.usefixtures("apple_gpu")
def test_scores_of_images_on_an_apple_gpu_are_summed_on_the_cpu():
    images = torch.rand(1, 3, 32, 32, device=MPS)
    assert in_float64(images).device == CPU
    for color_space in ("rgb", "y"):
        assert channels(images, color_space).dtype == torch.float64
        assert psnr(images, images, color_space=color_space).device == CPU
        assert ssim(images, images, color_space=color_space).device == CPU
    assert lab(images).dtype == torch.float64


@pytest.mark.usefixtures("apple_gpu")
def test_colours_of_rows_on_an_apple_gpu_are_counted_in_float64():
    moments = ChannelMoments()
    moments.update(torch.rand(1, 3, 8, 8, device=MPS))
    assert moments.mean.dtype == torch.float64


def test_convolutions_keep_their_layout_on_an_apple_gpu():
    layer = torch.nn.Conv2d(4, 8, 3)
    use_channels_last(layer, device=MPS)
    assert layer.weight.is_contiguous()
    use_channels_last(layer, device=CPU)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_metrics_choose_the_cpu_by_themselves_on_a_mac_and_the_gpu_when_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert _device("auto") == CPU
    assert _device("mps").type == "mps"


def test_cached_memory_is_released_on_an_apple_gpu(monkeypatch):
    released = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: released.append("mps"))
    device.release_cached_memory()
    assert released == ["mps"]


@pytest.mark.parametrize(
    "message",
    [
        "MPS backend out of memory (MPS allocated: 1 GB, max allowed: 1 GB)",
        "CUDA error: out of memory",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    ],
)
def test_every_devices_words_for_a_full_memory_are_known(message):
    assert device.is_out_of_memory(RuntimeError(message))
    assert not device.is_out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_bytes_whatever_the_system_counts_in(monkeypatch, platform, unit):
    usage = SimpleNamespace(ru_maxrss=7)
    stand_in = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _who: usage)
    monkeypatch.setitem(sys.modules, "resource", stand_in)
    monkeypatch.setattr(sys, "platform", platform)
    assert device.peak_memory(CPU) == 7 * unit


def test_peak_memory_on_windows_asks_windows(monkeypatch):
    class Process:
        def memory_info(self):
            return SimpleNamespace(peak_wset=12345)

    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(psutil, "Process", Process)
    assert device.peak_memory(CPU) == 12345


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_the_allocator_is_left_alone_where_it_is_another(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    assert keep_freed_memory() is False


def test_folders_of_a_metric_are_copies_where_links_are_not_allowed(tmp_path, monkeypatch):
    def refused(self, target):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refused)
    (tmp_path / "B.PNG").write_bytes(b"picture")
    folder = bridge._linked(tmp_path / "set", [tmp_path / "B.PNG"])
    assert (Path(folder) / "000000.png").read_bytes() == b"picture"


def test_files_are_written_where_folders_cannot_be_opened(tmp_path, monkeypatch):
    import os

    real = os.open

    def on_windows(path, flags, *rest, **options):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", on_windows)
    with atomic_file(tmp_path / "result.bin") as file:
        file.write(b"whole")
    assert (tmp_path / "result.bin").read_bytes() == b"whole"


UNIX_ONLY = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "tty", "syslog"}
MODULES = sorted(Path(hypir_cli.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_module_imports_at_its_top_what_windows_lacks(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not UNIX_ONLY & {name.partition(".")[0] for name in names}
