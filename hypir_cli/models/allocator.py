"""Keep freed memory in the process instead of giving it back to the kernel after every layer.

glibc maps each large activation anew and unmaps it again, so a VAE decode on a CPU spends a third of its time on page
faults. Results do not change by a bit. See README, "Speed".
"""

from __future__ import annotations

import ctypes
import platform
import sys

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_NEVER = 2**31 - 1
"""Largest value the interface takes: blocks below 2 GB stay in the heap, the heap is not trimmed."""
_PAD = 64 * 2**20
"""Bytes the heap grows by at least."""


def keep_freed_memory() -> bool:
    """Tell the C allocator to keep and reuse freed blocks; call it once, before computing.

    Returns:
        Whether it took effect: on Linux with glibc, elsewhere nothing is done.
    """
    if not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_THRESHOLD, _NEVER), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _PAD))
    return all([mallopt(name, value) == 1 for name, value in settings])


def return_freed_memory() -> bool:
    """Give the kernel what is free now, once: after weights were dropped that no later ones will replace.

    Returns:
        Whether there was anything; elsewhere than on Linux with glibc nothing is done.
    """
    return _is_glibc() and ctypes.CDLL(None).malloc_trim(0) == 1


def _is_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
