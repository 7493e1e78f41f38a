"""What this computer's processor can do, so that a number format is chosen by what it is and not by how busy it is."""

from __future__ import annotations

from pathlib import Path

import torch

_BF16_UNITS = frozenset({"avx512_bf16", "amx_bf16"})
"""Instructions that multiply in bfloat16, by Linux's names for them."""
_WIDE = "AVX512"
"""How torch begins the name of the vector width that those instructions need."""


def multiplies_bf16(flags: frozenset[str] | None = None, *, capability: str | None = None) -> bool:
    """Whether this processor multiplies in bfloat16, which makes networks about twice as fast as in float32.

    Without such instructions bfloat16 is computed in float32 with conversions around it, and slower.

    Args:
        flags: Instruction sets; None reads them.
        capability: Vector width that torch uses; None asks torch (`ATEN_CPU_CAPABILITY` can lower it).
    """
    if flags is None:
        flags = processor_flags()
    if capability is None:
        capability = torch.backends.cpu.get_cpu_capability()
    return capability.startswith(_WIDE) and bool(flags & _BF16_UNITS)


def processor_flags(*, table: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction sets by Linux's names; from torch where there is no such table; empty where nobody says."""
    try:
        text = table.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _told_by_torch()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return _told_by_torch()


def _told_by_torch() -> frozenset[str]:
    # Newer than the oldest torch that is supported.
    ask = getattr(torch.cpu, "get_capabilities", None)
    return frozenset(name for name, has in ask().items() if has is True) if ask else frozenset()
