"""Keep freed memory in the process instead of giving it back to the kernel after every layer.

glibc maps each large activation anew and unmaps it again, so a VAE decode on a CPU spends a third of its time on page
faults. Kept memory has to be of use to every thread: in heaps of their own, threads that read and write would keep as much as their
largest image took, beside what the computing thread keeps. Results do not change by a bit.
"""

from __future__ import annotations

import ctypes
import platform
import sys

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_NEVER = 2**31 - 1
"""Largest value the interface takes: blocks below 2 GB stay in the heap, the heap is not trimmed."""
_PAD = 64 * 2**20
"""Bytes the heap grows by at least."""


def keep_freed_memory() -> bool:
    """Tell the C allocator to keep freed blocks and to reuse them in all threads; call it once, before the threads start.

    Returns:
        Whether it took effect: on Linux with glibc, elsewhere nothing is done.
    """
    if not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = (
        (_M_MMAP_THRESHOLD, _NEVER),
        (_M_TRIM_THRESHOLD, _NEVER),
        (_M_TOP_PAD, _PAD),
        (_M_ARENA_MAX, 1),
    )
    return all([mallopt(name, value) == 1 for name, value in settings])


def return_freed_memory() -> bool:
    """Give the kernel what is free now, once: after weights were dropped that no later ones will replace.

    Returns:
        Whether there was anything; elsewhere than on Linux with glibc nothing is done.
    """
    return _is_glibc() and ctypes.CDLL(None).malloc_trim(0) == 1


def _is_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
