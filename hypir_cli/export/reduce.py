"""Lower the rank of adapters with the least possible error, and say how much is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """What one layer's adapter lost."""

    module: str
    """Module path."""
    old_rank: int
    """Rank before."""
    new_rank: int
    """Rank after."""
    energy: float
    """Sum of squared singular values of the update before."""
    kept: float
    """The same after; the relative error is sqrt(1 - kept / energy)."""

    @property
    def error(self) -> float:
        """Error of the adapter's output relative to the output, for white-noise input; 0..1."""
        return float(max(0.0, 1.0 - self.kept / self.energy) ** 0.5) if self.energy else 0.0


@dataclass(frozen=True, kw_only=True)
class ReductionSummary:
    """What all layers lost."""

    energy_kept: float
    """Share of the energy of all updates, 0..1."""
    mean_error: float
    """Relative output error, root mean square over layers."""
    worst: Reduction
    """The layer with the largest error."""


def summarize(reductions: Sequence[Reduction]) -> ReductionSummary:
    """One line's worth of what a list of layers lost."""
    total = sum(item.energy for item in reductions)
    return ReductionSummary(
        energy_kept=sum(item.kept for item in reductions) / total if total else 1.0,
        mean_error=(sum(item.error**2 for item in reductions) / len(reductions)) ** 0.5,
        worst=max(reductions, key=lambda item: item.error),
    )


@torch.no_grad()
def reduce_rank(
    down: Tensor, up: Tensor, *, rank: int, module: str
) -> tuple[Tensor, Tensor, Reduction]:
    """The best adapter of lower rank (Eckart-Young), its singular values shared by both halves.

    Args:
        down: (r, in) or (r, in, kh, kw).
        up: (out, r) or (out, r, 1, 1); the update is up @ down, nothing else scales it.
        rank: Wanted rank; larger than r keeps r.
        module: Module path, for the report.

    Returns:
        (down, up, report); down is (rank, ...), up (out, rank, ...), float32.
    """
    # Through two QR decompositions the decomposition is of r x r, not of out x in.
    left, left_core = torch.linalg.qr(up.flatten(1).double())
    right, right_core = torch.linalg.qr(down.flatten(1).double().T)
    u, values, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    kept = min(rank, down.shape[0], len(values))
    roots = values[:kept].sqrt()
    new_up = left @ (u[:, :kept] * roots)
    new_down = (roots[:, None] * vh[:kept]) @ right.T
    report = Reduction(
        module=module,
        old_rank=down.shape[0],
        new_rank=kept,
        energy=float(values.square().sum()),
        kept=float(values[:kept].square().sum()),
    )
    return (
        new_down.float().reshape(kept, *down.shape[1:]),
        new_up.float().reshape(up.shape[0], kept, *up.shape[2:]),
        report,
    )
