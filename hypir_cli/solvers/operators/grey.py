"""Lost colour."""

from __future__ import annotations

from torch import Tensor

from hypir_cli.pixels.color import LUMA_WEIGHTS, luma
from hypir_cli.solvers.operators.base import LinearOperator


class Grey(LinearOperator):
    """The BT.601 luma of an RGB image."""

    def A(self, x: Tensor) -> Tensor:
        """(B, 1, H, W)."""
        return luma(x)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """(B, 3, H, W)."""
        return y * y.new_tensor(LUMA_WEIGHTS).view(1, 3, 1, 1)

    def A_dagger(self, y: Tensor) -> Tensor:
        """The image of least norm with that luma."""
        return self.A_adjoint(y) / _NORM

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """The x that makes gamma / 2 ||A x - y||^2 + 1 / 2 ||x - z||^2 least."""
        return z + self.A_adjoint(y - self.A(z)) / (1.0 / gamma + _NORM)


_NORM = sum(weight**2 for weight in LUMA_WEIGHTS)
"""A A^T."""
