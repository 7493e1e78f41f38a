"""Device, number format and memory: what is chosen, and what is said when it cannot be had."""

from __future__ import annotations

import time

import pytest
import torch

from hypir_cli.errors import DeviceError
from hypir_cli.models import device as runtime
from hypir_cli.models import processor

CPU = torch.device("cpu")


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_accelerator")
def test_without_an_accelerator_auto_is_the_cpu():
    assert runtime.pick_device("auto") == CPU == runtime.pick_device("cpu")


def test_auto_prefers_cuda_then_mps(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runtime.pick_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert runtime.pick_device("auto").type == "mps"


@pytest.mark.usefixtures("no_accelerator")
@pytest.mark.parametrize("name", ["cuda", "cuda:3", "mps", "tpu", ""])
def test_a_device_that_is_not_there_is_an_error_with_a_way_out(name):
    with pytest.raises(DeviceError) as caught:
        runtime.pick_device(name)
    assert "cpu" in caught.value.hint


def test_a_cuda_index_beyond_the_last_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert runtime.pick_device("cuda:1").index == 1
    with pytest.raises(DeviceError, match="2 CUDA devices"):
        runtime.pick_device("cuda:2")


@pytest.mark.parametrize(
    ("flags", "capability", "expected"),
    [
        ("fma avx2", "AVX2", torch.float32),
        ("fma avx2 avx512f avx512_vnni", "AVX512", torch.float32),
        ("avx512f avx512_bf16", "AVX512", torch.bfloat16),
        ("avx512f amx_tile amx_bf16", "AVX512", torch.bfloat16),
        # torch was told to use narrower vectors than there are
        ("avx512f avx512_bf16", "AVX2", torch.float32),
        ("fp asimd bf16", "DEFAULT", torch.float32),
        ("", "DEFAULT", torch.float32),
    ],
)
def test_auto_on_a_cpu_follows_what_the_processor_is(monkeypatch, flags, capability, expected):
    found = frozenset(flags.split())
    monkeypatch.setattr(processor, "processor_flags", lambda: found)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert runtime.pick_dtype("auto", CPU) == expected


def test_auto_on_a_cpu_looks_at_no_clock(monkeypatch):
    """However busy the machine is, the answer is the same."""

    def forbidden(*_args):
        raise AssertionError("the choice of a number format was timed")

    for name in ("perf_counter", "monotonic", "time", "process_time"):
        monkeypatch.setattr(time, name, forbidden)
    assert len({runtime.pick_dtype("auto", CPU) for _ in range(3)}) == 1


def test_instruction_sets_are_read_from_linux_table(tmp_path):
    (tmp_path / "x86").write_text("processor : 0\nflags\t\t: fpu avx512_bf16 amx_tile\n")
    (tmp_path / "arm").write_text("processor : 0\nFeatures\t: fp asimd bf16\n")
    assert "avx512_bf16" in processor.processor_flags(table=tmp_path / "x86")
    assert processor.processor_flags(table=tmp_path / "arm") == {"fp", "asimd", "bf16"}


def test_without_a_table_torch_is_asked_and_an_old_torch_knows_nothing(tmp_path, monkeypatch):
    told = {"avx512_bf16": True, "amx_bf16": False, "num_sockets": 1}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert processor.processor_flags(table=tmp_path / "none") == {"avx512_bf16"}
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert processor.processor_flags(table=tmp_path / "none") == frozenset()
    (tmp_path / "s390").write_text("vendor_id : IBM\n")
    assert processor.processor_flags(table=tmp_path / "s390") == frozenset()


@pytest.mark.parametrize(
    ("capability", "hip", "expected"),
    [
        ((9, 0), None, torch.bfloat16),
        ((7, 5), None, torch.float16),
        ((7, 5), "6.0", torch.bfloat16),
    ],
)
def test_auto_on_cuda_takes_bfloat16_where_it_is_native(monkeypatch, capability, hip, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert runtime.pick_dtype("auto", torch.device("cuda")) == expected


def test_auto_on_mps_is_float32():
    assert runtime.pick_dtype("auto", torch.device("mps")) == torch.float32


def test_a_named_format_is_taken_where_the_device_can():
    assert runtime.pick_dtype("fp32", CPU) == torch.float32
    assert runtime.pick_dtype("bf16", CPU) == torch.bfloat16
    assert runtime.pick_dtype("fp16", torch.device("cuda")) == torch.float16
    with pytest.raises(DeviceError, match="float16"):
        runtime.pick_dtype("fp16", CPU)
    with pytest.raises(DeviceError, match="no number format"):
        runtime.pick_dtype("fp8", CPU)


def test_free_memory_of_the_cpu_is_some_of_what_there_is():
    assert 0 < runtime.free_memory(CPU) < 2**50


def test_free_memory_keeps_to_the_group_with_the_least_room(monkeypatch):
    monkeypatch.setattr(runtime, "cgroup_room", lambda: [7_000, 5_000])
    assert runtime.free_memory(CPU) == 5_000


def test_free_memory_of_cuda_counts_what_torch_holds_unused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (100, 1_000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 20)
    assert runtime.free_memory(torch.device("cuda")) == 130


def test_free_memory_of_mps_is_what_its_driver_leaves(monkeypatch):
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 100)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 30)
    assert runtime.free_memory(torch.device("mps")) == 70


def write_group(folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("__", ".")).write_text(f"{value}\n")


def test_limits_of_every_enclosing_group_count_in_version_2(tmp_path):
    write_group(tmp_path / "root" / "a", memory__max=1000, memory__current=900)
    write_group(
        tmp_path / "root" / "a" / "b",
        memory__max=500,
        memory__current=300,
        memory__stat="anon 100\ninactive_file 50",
    )
    write_group(tmp_path / "root" / "a" / "b" / "c", memory__max="max", memory__current=10)
    (tmp_path / "own").write_text("0::/a/b/c\n")
    rooms = runtime.cgroup_room(root=tmp_path / "root", membership=tmp_path / "own")
    assert rooms == [250, 100]


def test_limits_count_in_version_1_and_its_huge_number_is_none(tmp_path):
    memory = tmp_path / "root" / "memory"
    write_group(memory, memory__limit_in_bytes=2**63 - 4096, memory__usage_in_bytes=5)
    write_group(
        memory / "job",
        memory__limit_in_bytes=1000,
        memory__usage_in_bytes=700,
        memory__stat="inactive_file 5\ntotal_inactive_file 60",
    )
    (tmp_path / "own").write_text("3:cpu,cpuacct:/job\n2:memory:/job\n")
    rooms = runtime.cgroup_room(root=tmp_path / "root", membership=tmp_path / "own")
    assert rooms == [360]


def test_a_group_path_of_the_host_falls_back_to_the_mounted_root(tmp_path):
    write_group(tmp_path / "root", memory__max=1000, memory__current=1200)
    (tmp_path / "own").write_text("0::/docker/0123\n")
    assert runtime.cgroup_room(root=tmp_path / "root", membership=tmp_path / "own") == [0]


def test_without_groups_there_is_no_limit(tmp_path):
    assert runtime.cgroup_room(root=tmp_path, membership=tmp_path / "none") == []
