"""Conjugate gradients, each image of a batch by itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TOLERANCE = 1e-6
"""Residual, relative to the right-hand side, at which an image is done."""


@torch.no_grad()
def solve(
    apply: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    iterations: int,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """The x with apply(x) = right, from 0 on.

    Args:
        apply: A symmetric positive (semi-)definite map of batches onto themselves.
        right: (B, ...); in a singular system it must lie in the map's range.
        iterations: Steps at most.
        tolerance: Of the residual, relative to `right`; an image that is there no longer moves.

    Returns:
        Same shape as `right`.

    Source: Hestenes and Stiefel, 1952.
    """
    x = torch.zeros_like(right)
    rest, direction = right.clone(), right.clone()
    squared = _dot(rest, rest)
    goal = tolerance**2 * squared
    for _ in range(iterations):
        active = squared > goal
        if not active.any():
            break
        applied = apply(direction)
        curvature = _dot(direction, applied)
        length = torch.where(active & (curvature > 0), squared / curvature, 0.0)
        x = x + length * direction
        rest = rest - length * applied
        before, squared = squared, torch.where(active, _dot(rest, rest), squared)
        direction = rest + torch.where(active, squared / before, 0.0) * direction
    return x


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """(B, 1, ...) inner products."""
    return (left * right).flatten(1).sum(1).reshape(-1, *(1,) * (left.ndim - 1))
