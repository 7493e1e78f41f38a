"""An operator on a part of an image: only what depends on that part alone is measured."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hypir_cli.pixels.resample import Span
from hypir_cli.solvers.operators.base import LinearOperator


class Windowed(LinearOperator):
    """A translation-invariant operator on a window; measured pixels too near an inner border are left out.

    Args:
        inner: The operator on the window as if it were an image.
        rows: First measured row that counts and one past the last, within the window's.
        columns: The same for columns.
    """

    def __init__(self, inner: LinearOperator, *, rows: Span, columns: Span) -> None:
        self._inner = inner
        self._rows = rows
        self._columns = columns
        self._size: Span | None = None
        self.factor = inner.factor
        self.halo = inner.halo

    def A(self, x: Tensor) -> Tensor:
        """Measurements of the window that count."""
        whole = self._inner.A(x)
        self._size = (whole.shape[-2], whole.shape[-1])
        return whole[..., slice(*self._rows), slice(*self._columns)]

    def A_adjoint(self, y: Tensor) -> Tensor:
        """The transpose; `A` must have been called, which tells how large the window is."""
        assert self._size is not None
        margins = (
            self._columns[0],
            self._size[1] - self._columns[1],
            self._rows[0],
            self._size[0] - self._rows[1],
        )
        return self._inner.A_adjoint(functional.pad(y, margins))
