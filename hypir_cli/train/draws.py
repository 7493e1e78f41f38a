"""Random numbers of one training sample, each from the sample's key: the same in any batch and on any rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hypir_cli.train.data.keys import SampleKey


def uniform(keys: Sequence[SampleKey], purpose: str) -> Tensor:
    """(B,) float64 on the CPU, uniform in 0..1."""
    return torch.tensor(
        [float(key.generator(purpose).random()) for key in keys], dtype=torch.float64
    )


def normal(keys: Sequence[SampleKey], purpose: str, *, shape: tuple[int, ...]) -> Tensor:
    """(B, *shape) float32 on the CPU, standard normal."""
    rows = []
    for key in keys:
        generator = torch.Generator().manual_seed(int(key.generator(purpose).integers(2**62)))
        rows.append(torch.randn(shape, generator=generator))
    return torch.stack(rows)
