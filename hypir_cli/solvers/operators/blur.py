"""Blur by a kernel, the image continued by reflection at its edges."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.pixels.tiling import reflect_indices
from hypir_cli.solvers.operators.base import LinearOperator


class Blur(LinearOperator):
    """Convolution of every channel with one kernel; same size out.

    Args:
        kernel: (h, w); its centre is at (h // 2, w // 2). Sums to 1 where brightness is to be kept.
    """

    def __init__(self, kernel: Tensor) -> None:
        height, width = kernel.shape
        self.kernel = functional.pad(kernel.double(), (0, 1 - width % 2, 0, 1 - height % 2))
        self._radii = (self.kernel.shape[0] // 2, self.kernel.shape[1] // 2)
        self.halo = max(self._radii)
        self._known: tuple[tuple[int, int], torch.dtype, torch.device, Tensor] | None = None

    def A(self, x: Tensor) -> Tensor:
        """Blurred images, (B, C, H, W)."""
        rows, columns = self._sources(x)
        spread = _at_least_float32(x)[..., rows, :][..., columns]
        height, width = spread.shape[-2:]
        size = (_fast(height), _fast(width))
        product = torch.fft.rfft2(spread, s=size) * self._spectrum(spread, size)
        blurred: Tensor = torch.fft.irfft2(product, s=size)
        inner = blurred[..., 2 * self._radii[0] : height, 2 * self._radii[1] : width]
        return inner.to(x.dtype)

    def A_adjoint(self, y: Tensor) -> Tensor:
        """Correlation with the kernel; what falls beyond an edge is folded back, (B, C, H, W)."""
        rows, columns = self._sources(y)
        placed = functional.pad(
            _at_least_float32(y), (2 * self._radii[1], 0, 2 * self._radii[0], 0)
        )
        height, width = placed.shape[-2:]
        size = (_fast(height), _fast(width))
        product = torch.fft.rfft2(placed, s=size) * self._spectrum(placed, size).conj()
        spread: Tensor = torch.fft.irfft2(product, s=size)[..., :height, :width]
        folded = spread.new_zeros(*spread.shape[:-2], y.shape[-2], spread.shape[-1])
        folded = folded.index_add(-2, rows, spread)
        result = spread.new_zeros(*spread.shape[:-2], y.shape[-2], y.shape[-1])
        return result.index_add(-1, columns, folded).to(y.dtype)

    def _spectrum(self, like: Tensor, size: tuple[int, int]) -> Tensor:
        """Of the kernel; the last one is kept, for a sampler asks again and again."""
        known = self._known
        if known is None or known[:3] != (size, like.dtype, like.device):
            kernel = self.kernel.to(device=like.device, dtype=like.dtype)
            known = (size, like.dtype, like.device, torch.fft.rfft2(kernel, s=size))
            self._known = known
        return known[3]

    def _sources(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column indices of the image continued by the kernel's radius on every side."""
        height, width = x.shape[-2:]
        rows = _reflected(height, self._radii[0]).to(x.device)
        return rows, _reflected(width, self._radii[1]).to(x.device)


def _reflected(length: int, radius: int) -> Tensor:
    """Pixel indices -radius .. length + radius - 1, reflected into the axis."""
    period = max(2 * (length - 1), 1)
    first = -radius % period
    return reflect_indices(length, first + length + 2 * radius)[first:]


def _fast(length: int) -> int:
    """The next length without prime factors above 5: Fourier transforms of others take several times as long."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
