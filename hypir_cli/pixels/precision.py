"""float64 where sums need it, also for images on devices that have no such format."""

from __future__ import annotations

import torch
from torch import Tensor

_WITHOUT_FLOAT64 = ("mps",)


def in_float64(values: Tensor) -> Tensor:
    """The same numbers in float64: where they are, or on the CPU where their device knows no float64."""
    # Two steps: converting on the way would convert on the device.
    return (values.cpu() if values.device.type in _WITHOUT_FLOAT64 else values).to(torch.float64)
