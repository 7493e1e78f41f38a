"""What a measurement is: the verbs of an operator, and the linear ones' common part.

The verbs are named as deepinv names them (`A`, `A_adjoint`, `A_dagger`, `prox_l2`), so that its physics objects can be handed to
the samplers as they are. Any object with an `A` is accepted; a method that needs more says so.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from torch import Tensor

from hypir_cli.solvers.operators.conjugate import solve

DAGGER_ITERATIONS = 50
"""Steps of conjugate gradients for an inverse without closed form; stopping there also keeps noise from being blown up."""
PROX_ITERATIONS = 100
"""Steps of conjugate gradients for a proximal step without closed form, at most."""
PROX_TOLERANCE = 1e-5
"""Where those steps end, relative to what they start from: far below the noise of any measurement."""


class Operator(Protocol):
    """Anything that maps images to measurements, with gradients."""

    def A(self, x: Tensor) -> Tensor:
        """Measurements of images (B, C, H, W); any shape that keeps the batch first."""


@runtime_checkable
class HasAdjoint(Protocol):
    """A linear operator's second verb."""

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose, applied to measurements."""


@runtime_checkable
class HasDagger(Protocol):
    """An operator that can be undone where that is possible."""

    def A_dagger(self, y: Tensor) -> Tensor:
        """Least image with these measurements (pseudo-inverse)."""


@runtime_checkable
class HasGuess(Protocol):
    """An operator that knows a better image to start from than its inverse."""

    def first_guess(self, y: Tensor) -> Tensor:
        """An image with these measurements, made without a prior."""


@runtime_checkable
class HasProx(Protocol):
    """An operator with a proximal step of its own."""

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """The x that makes gamma / 2 ||A x - y||^2 + 1 / 2 ||x - z||^2 least."""


class LinearOperator(ABC):
    """A linear operator with its exact transpose; inverse and proximal step come from conjugate gradients unless overridden.

    Attributes:
        factor: Image pixels per measured pixel along an axis.
        halo: Image pixels around a measured pixel that it depends on; what cutting an image into tiles must respect.
    """

    factor: int = 1
    halo: int = 0

    @abstractmethod
    def A(self, x: Tensor) -> Tensor:
        """Measurements (B, c, h, w) of images (B, C, H, W)."""

    @abstractmethod
    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose: images (B, C, H, W) of measurements."""

    def A_dagger(self, y: Tensor) -> Tensor:
        """Least-squares image of least norm; without closed form, after `DAGGER_ITERATIONS` steps towards it."""
        return solve(
            lambda x: self.A_adjoint(self.A(x)), self.A_adjoint(y), iterations=DAGGER_ITERATIONS
        )

    def prox_l2(self, z: Tensor, y: Tensor, gamma: float) -> Tensor:
        """The x that makes gamma / 2 ||A x - y||^2 + 1 / 2 ||x - z||^2 least."""
        return conjugate_prox(self, z, y, gamma)

    def at(self, rows: tuple[int, int], columns: tuple[int, int]) -> LinearOperator:
        """The operator on a window of the image alone; itself where every place is measured alike."""
        return self

    def num_measured(self, y: Tensor) -> int:
        """Numbers per image that carry information."""
        return y[0].numel()


class Adjointed(Operator, HasAdjoint, Protocol):
    """A linear operator by its two first verbs."""


def conjugate_prox(operator: Adjointed, z: Tensor, y: Tensor, gamma: float) -> Tensor:
    """The proximal step of any linear operator, by conjugate gradients from z on."""

    def normal(x: Tensor) -> Tensor:
        return x + gamma * operator.A_adjoint(operator.A(x))

    rest = gamma * operator.A_adjoint(y - operator.A(z))
    return z + solve(normal, rest, iterations=PROX_ITERATIONS, tolerance=PROX_TOLERANCE)


def num_measured(operator: Operator, y: Tensor) -> int:
    """Numbers per image that carry information; all of them where the operator does not say."""
    count = getattr(operator, "num_measured", None)
    return y[0].numel() if count is None else int(count(y))
