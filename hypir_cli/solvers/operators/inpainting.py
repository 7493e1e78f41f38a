"""Lost pixels: scratches, dust, stamps, boxes, pixels dropped at random."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.solvers.operators.base import LinearOperator
from hypir_cli.solvers.operators.conjugate import solve

FILL_ITERATIONS = 400
"""Steps of conjugate gradients for a fill, at most."""
FILL_TOLERANCE = 1e-3
"""Where those steps end, relative to what they start from: a fill is only what a sampler starts from."""


class Inpainting(LinearOperator):
    """Keeps some pixels and sets the others to 0.

    Args:
        kept: True where the photograph is there, (1, 1, H, W) or (B, 1, H, W), bool.
    """

    def __init__(self, kept: Tensor) -> None:
        self.kept = kept

    def A(self, x: Tensor) -> Tensor:
        """(B, C, H, W), 0 where the photograph is lost."""
        return x * self.kept.to(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The same: the operator is its own transpose and its own inverse."""
        return self.A(y)

    def A_dagger(self, y: Tensor) -> Tensor:
        """(B, C, H, W), 0 where the photograph is lost."""
        return self.A(y)

    def first_guess(self, y: Tensor) -> Tensor:
        """What is kept, and between it the smoothest continuation: each lost pixel is the mean of its neighbours."""
        lost = 1.0 - self.kept.to(y).expand_as(y)
        known = self.A(y)

        def roughness(x: Tensor) -> Tensor:
            return lost * _laplacian(lost * x)

        return known + solve(
            roughness,
            -lost * _laplacian(known),
            iterations=FILL_ITERATIONS,
            tolerance=FILL_TOLERANCE,
        )

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """The x that makes gamma / 2 ||A x - y||^2 + 1 / 2 ||x - z||^2 least."""
        weight = gamma * self.kept.to(z)
        return (z + weight * y) / (1.0 + weight)

    def at(self, rows: tuple[int, int], columns: tuple[int, int]) -> Inpainting:
        """The window's own mask; beyond the right and bottom edge nothing is known."""
        window = self.kept[..., rows[0] : rows[1], columns[0] : columns[1]]
        missing = (rows[1] - rows[0] - window.shape[-2], columns[1] - columns[0] - window.shape[-1])
        return Inpainting(torch.nn.functional.pad(window, (0, missing[1], 0, missing[0])))

    def num_measured(self, y: Tensor) -> int:
        """Numbers per image that were kept."""
        channels = y.shape[1]
        return int(self.kept[0].sum()) * channels


def random_kept(height: int, width: int, *, dropped: float, seed: int) -> Tensor:
    """A mask that keeps each pixel with chance 1 - dropped: (1, 1, height, width) bool, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 1, height, width, generator=generator) >= dropped


def box_kept(height: int, width: int, *, side: int) -> Tensor:
    """A mask that loses a centred square: (1, 1, height, width) bool."""
    kept = torch.ones(1, 1, height, width, dtype=torch.bool)
    top, left = max((height - side) // 2, 0), max((width - side) // 2, 0)
    kept[..., top : top + side, left : left + side] = False
    return kept


def _laplacian(x: Tensor) -> Tensor:
    """Sum of the differences from the four neighbours; beyond an edge lies what lies at it."""
    padded = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
    return 4.0 * x - across - padded[..., :-2, 1:-1] - padded[..., 2:, 1:-1]
