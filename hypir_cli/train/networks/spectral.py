"""Layers whose weights are divided by their spectral norm, which bounds how steeply a discriminator can judge."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Spectral(nn.Module):
    """A layer whose weight is divided by an estimate of its largest singular value.

    One power iteration per training call moves the estimate; in evaluation mode it stays.

    Source: Spectral Normalization for GANs (arXiv:1802.05957).
    """

    u: Tensor
    v: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = layer.bias
        matrix = self.weight.detach().flatten(1)
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(15):
            self._iterate(matrix)

    def normalised_weight(self) -> Tensor:
        """The weight over its spectral norm, float32."""
        with torch.autocast(self.weight.device.type, enabled=False):
            matrix = self.weight.float().flatten(1)
            if self.training:
                self._iterate(matrix.detach())
            # Clones: the next iteration writes in place what this call's backward still needs.
            sigma = torch.dot(self.u.clone(), matrix @ self.v.clone())
            return self.weight / sigma

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0, eps=1e-12))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0, eps=1e-12))


class SpectralConv2d(_Spectral):
    """Convolution with a normalised weight.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        side: Of the kernel.
        stride: Of the places.
        padding: Zeros around the input.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, side: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(nn.Conv2d(in_channels, out_channels, side))
        self.stride = stride
        self.padding = padding

    def forward(self, images: Tensor) -> Tensor:
        """(B, out, H', W') of (B, in, H, W), with H' = floor((H + 2 padding - side) / stride) + 1."""
        return F.conv2d(
            images, self.normalised_weight(), self.bias, stride=self.stride, padding=self.padding
        )


class SpectralLinear(_Spectral):
    """Linear layer with a normalised weight."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(nn.Linear(in_features, out_features))

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, out)."""
        return F.linear(vectors, self.normalised_weight(), self.bias)
