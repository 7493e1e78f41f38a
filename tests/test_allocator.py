"""Keeping freed memory in the process: fewer page faults, nothing elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from hypir_cli.models import allocator

PROGRAM = """
import ctypes, resource, sys
from hypir_cli.models.allocator import keep_freed_memory
took_effect = sys.argv[1] == "keep" and keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def use():
    block = ctypes.c_void_p(libc.malloc(2**25))
    libc.memset(block, 1, 2**25)
    libc.free(block)
use()
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    use()
print(int(took_effect), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def page_faults(mode):
    run = [sys.executable, "-c", PROGRAM, mode]
    output = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    took_effect, faults = (int(word) for word in output.split())
    return bool(took_effect), faults


def test_where_it_takes_effect_freed_blocks_are_used_again_without_page_faults():
    took_effect, kept = page_faults("keep")
    assert took_effect == (platform.libc_ver()[0] == "glibc")
    if took_effect:
        assert kept < page_faults("usual")[1] / 4


@pytest.mark.parametrize(
    ("system", "libc"), [("darwin", ""), ("win32", ""), ("linux", ""), ("linux", "musl")]
)
def test_elsewhere_nothing_is_done(monkeypatch, system, libc):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    assert allocator.keep_freed_memory() is False


RETURNING = """
import ctypes, psutil
from hypir_cli.models.allocator import keep_freed_memory, return_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [ctypes.c_void_p(libc.malloc(2**24)) for _ in range(8)]
for block in blocks:
    libc.memset(block, 1, 2**24)
for block in blocks[:-1]:
    libc.free(block)
held = psutil.Process().memory_info().rss
print(int(return_freed_memory()), held - psutil.Process().memory_info().rss)
"""


def test_memory_of_dropped_weights_goes_back_although_a_later_block_stays():
    run = [sys.executable, "-c", RETURNING]
    output = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    returned, freed = (int(word) for word in output.split())
    assert bool(returned) == (platform.libc_ver()[0] == "glibc")
    assert not returned or freed > 5 * 2**24
