"""Shrinking by a whole factor, as photographs are shrunk: bicubic with antialiasing."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from hypir_cli.pixels.resample import AxisResampler
from hypir_cli.solvers.operators.base import LinearOperator

SUPPORT = 2
"""Radius of the bicubic kernel in pixels of the small image."""
RANK_TOLERANCE = 1e-9
"""Eigenvalues below this share of the largest count as 0 in the inverse."""


class Downsampling(LinearOperator):
    """Antialiased bicubic shrinking along both axes; inverse and proximal step in closed form.

    Rows and columns are shrunk by one matrix each, so A A^T is diagonal in the product of their eigenvectors.

    Args:
        factor: Image pixels per measured pixel along an axis; sides must be multiples of it.
    """

    def __init__(self, factor: int) -> None:
        if factor < 1:
            raise ValueError(f"factor must be at least 1, got {factor}")
        self.factor = factor
        self.halo = 0 if factor == 1 else (SUPPORT + 1) * factor

    def A(self, x: Tensor) -> Tensor:
        """(B, C, H / factor, W / factor)."""
        height, width = x.shape[-2:]
        if height % self.factor or width % self.factor:
            raise ValueError(f"sides {height} x {width} are not multiples of {self.factor}")
        return _both(self._matrix(height, x), x, self._matrix(width, x))

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(B, C, h * factor, w * factor)."""
        rows = self._matrix(y.shape[-2] * self.factor, y)
        return _both(rows.T, y, self._matrix(y.shape[-1] * self.factor, y).T)

    def A_dagger(self, y: Tensor) -> Tensor:
        """The enlargement of least norm that shrinks back to y exactly."""
        return self.A_adjoint(self._solve(y, ridge=0.0))

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """The x that makes gamma / 2 ||A x - y||^2 + 1 / 2 ||x - z||^2 least."""
        return z + self.A_adjoint(self._solve(y - self.A(z), ridge=1.0 / gamma))

    def _solve(self, y: Tensor, *, ridge: float) -> Tensor:
        """(ridge + A A^T)^-1 y, the pseudo-inverse where that is singular."""
        rows, row_values = self._eigen(y.shape[-2] * self.factor, y)
        columns, column_values = self._eigen(y.shape[-1] * self.factor, y)
        values = row_values[:, None] * column_values + ridge
        inverse = torch.where(values > RANK_TOLERANCE * values.max(), 1.0 / values, 0.0)
        return _both(rows, _both(rows.T, y, columns.T) * inverse, columns)

    def _matrix(self, size: int, like: Tensor) -> Tensor:
        return _axis_matrix(size, self.factor).to(like)

    def _eigen(self, size: int, like: Tensor) -> tuple[Tensor, Tensor]:
        vectors, values = _axis_eigen(size, self.factor)
        return vectors.to(like), values.to(like)


def _both(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    return rows @ x @ columns.T


@functools.lru_cache(maxsize=16)
def _axis_matrix(size: int, factor: int) -> Tensor:
    """(size / factor, size) float64."""
    axis = AxisResampler(size, size // factor, antialias=True)
    return axis.apply(torch.eye(size, dtype=torch.float64), 0, size // factor, dim=-2)


@functools.lru_cache(maxsize=16)
def _axis_eigen(size: int, factor: int) -> tuple[Tensor, Tensor]:
    """Eigenvectors (columns) and eigenvalues of the axis matrix times its transpose."""
    matrix = _axis_matrix(size, factor)
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    return vectors, values.clamp_min(0.0)
