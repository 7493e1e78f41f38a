"""Layers that multiply in 8 bits on a CPU, and who of a network takes part.

Weights have one scale per output channel. The input of each call has one range, measured as it comes, so nothing is clipped whatever
the picture. Products are exact integers, by the kernels that torch brings for its own compiler (oneDNN), and leave in the dtype of
the input.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hypir_cli.models.execution import mark_quantized
from hypir_cli.models.placement import block_layers

LEAST_ROWS = 16
"""Layers that see fewer vectors or pixels at once than this (the timestep's) stay exact: there is no time to win."""
_LEVELS, _LARGEST_WEIGHT = 254, 127
"""One level less than there are, so that nothing leaves them when the range and its zero are both rounded."""


@functools.cache
def multiplies_int8() -> bool:
    """Whether this torch has the kernels, and they give the right products on this processor."""
    x = torch.linspace(-1.0, 1.0, 512).reshape(1, 8, 8, 8)
    try:
        with torch.inference_mode(), torch.random.fork_rng(devices=[]):
            return all(
                torch.allclose(Int8Layer(layer, shape=given.shape)(given), layer(given), atol=0.1)
                for layer, given in ((nn.Linear(8, 8), x), (nn.Conv2d(8, 8, 3, padding=1), x))
            )
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False


class Int8Layer(nn.Module):
    """What stands for a linear or convolutional layer.

    Args:
        layer: `nn.Linear`, or `nn.Conv2d` padded with zeros; it keeps its weights.
        shape: Of the input it will mostly see, for the layout of its weights.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, *, shape: torch.Size) -> None:
        super().__init__()
        mark_quantized(self)
        weight = layer.weight.detach().float()
        largest = weight.flatten(1).abs().amax(1)
        # Also in float32 where the network is in bfloat16: the kernels take no other.
        self._scales = largest.clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST_WEIGHT
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = None if layer.bias is None else layer.bias.detach().float()
        levels = (weight / self._scales.reshape(-1, *[1] * (weight.ndim - 1))).round()
        self._convolution = _Convolution.of(layer) if isinstance(layer, nn.Conv2d) else None
        # Plain attributes: what is packed for the CPU neither travels nor changes its dtype.
        self._packed = self._pack(levels.to(torch.int8), shape)

    def _pack(self, levels: Tensor, shape: torch.Size) -> Tensor:
        kernels = torch.ops.onednn
        packed: Tensor
        if self._convolution is None:
            packed = kernels.qlinear_prepack(levels, [_rows(shape), shape[-1]])
        else:
            # Its scale and zero point change nothing in the layout but that there is a zero point.
            packed = kernels.qconv_prepack(
                levels, self._scales, 1.0, 1, *self._convolution.arguments, list(shape)
            )
        return packed

    def forward(self, x: Tensor) -> Tensor:
        """What the layer gives, to 8 bits of its input and weights."""
        low, high = _range(x)
        scale = (high - low) / _LEVELS
        if not math.isfinite(scale):
            # As the layer itself would: an overflow is seen further up.
            return self._multiplied(torch.zeros_like(x, dtype=torch.uint8), math.nan, 0, x.dtype)
        scale = scale or 1.0
        zero = round(-low / scale)
        levels = x * (1.0 / scale) if x.dtype == torch.float32 else x.float().mul_(1.0 / scale)
        # Rounding down from half a level more is rounding to the nearest.
        return self._multiplied(levels.add_(zero + 0.5).to(torch.uint8), scale, zero, x.dtype)

    def _multiplied(self, levels: Tensor, scale: float, zero: int, dtype: torch.dtype) -> Tensor:
        kernels = torch.ops.onednn
        weights = (self._packed, self._scales, self._zeros, self._bias)
        product: Tensor
        if self._convolution is not None:
            # An output scale of 1 and zero point of 0: it is no level but a number.
            product = kernels.qconv2d_pointwise(
                *(levels, scale, zero, *weights, *self._convolution.arguments),
                *(1.0, 0, dtype, "none", [], ""),
            )
            return product
        rows = levels.reshape(-1, levels.shape[-1])
        product = kernels.qlinear_pointwise(
            *(rows, scale, zero, *weights), *(1.0, 0, dtype, "none", [], "")
        )
        return product.reshape(*levels.shape[:-1], product.shape[-1])


@dataclass(frozen=True)
class _Convolution:
    """Numbers of a convolution, in the order in which the kernels take them."""

    arguments: tuple[list[int], list[int], list[int], int]

    @classmethod
    def of(cls, layer: nn.Conv2d) -> _Convolution:
        padding = [int(side) for side in layer.padding]
        return cls((list(layer.stride), padding, list(layer.dilation), layer.groups))


def int8_candidates(denoiser: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """Layers inside the repeated blocks that 8 bits could do, by path; embeddings and the output layer have no place in it."""
    found: dict[str, nn.Linear | nn.Conv2d] = {**block_layers(denoiser, nn.Linear)}
    for path, layer in block_layers(denoiser, nn.Conv2d).items():
        if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            found[path] = layer
    return found


def _range(x: Tensor) -> tuple[float, float]:
    """Smallest and largest value, zero among them: what a convolution pads with must be a level."""
    channels_last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    # In the order of memory, which is many times as fast.
    low, high = torch.aminmax((x.permute(0, 2, 3, 1) if channels_last else x).reshape(-1))
    return min(float(low), 0.0), max(float(high), 0.0)


def _rows(shape: torch.Size) -> int:
    return shape[:-1].numel()


@dataclass(frozen=True, kw_only=True)
class Int8Choice:
    """What was found for one denoiser."""

    layers: int
    """Layers that compute in 8 bits."""
    exact: tuple[str, ...]
    """Layers that do not, since the result would be too far off, the worst first."""
    psnr: float
    """Of the tiles against float32, dB, with this choice; infinite where no layer is left."""
    tiles: int
    """Tiles that were looked at."""
    picture: str
    """What they are of, in words for the user."""
    least_psnr: float
    """What was asked of the tiles, dB."""

    def sentence(self) -> str:
        """The choice in one line."""
        if not self.layers:
            return f"--quantize int8 is not used: no layer can be in 8 bits with {self.least_psnr:g} dB."
        text = (
            f"{self.layers} layers compute in 8 bits: {self.psnr:.1f} dB against float32 on "
            f"{self.tiles} tile(s) of {self.picture}"
        )
        if not self.exact:
            return f"{text}."
        named = ", ".join(self.exact[:3]) + (", ..." if len(self.exact) > 3 else "")
        return f"{text}; {len(self.exact)} stay exact ({named})."

    def details(self) -> Mapping[str, object]:
        """For the report; an infinite PSNR is None."""
        finite = self.psnr if math.isfinite(self.psnr) else None
        return {**asdict(self), "psnr": finite}


@dataclass
class Int8Probe:
    """Layers made while the exact network computed, and the error of each on the input it had there."""

    layers: dict[str, Int8Layer] = field(default_factory=dict)
    """By path."""
    _noise: dict[str, float] = field(default_factory=dict)
    _signal: dict[str, float] = field(default_factory=dict)

    def worst_first(self) -> list[str]:
        """Paths by the relative error of their output."""
        ratio = {path: self._noise[path] / max(self._signal[path], 1e-30) for path in self.layers}
        return sorted(ratio, key=lambda path: (-ratio[path], path))

    def see(self, path: str, layer: nn.Linear | nn.Conv2d, x: Tensor, exact: Tensor) -> None:
        """Note one call of a layer; its first makes its partner in 8 bits."""
        linear = isinstance(layer, nn.Linear)
        if (_rows(x.shape) if linear else exact[0, 0].numel()) < LEAST_ROWS:
            return
        if path not in self.layers:
            self.layers[path] = Int8Layer(layer, shape=x.shape)
        error = (self.layers[path](x) - exact).float()
        self._noise[path] = self._noise.get(path, 0.0) + float(error.square().sum())
        self._signal[path] = self._signal.get(path, 0.0) + float(exact.float().square().sum())


def calibration_bytes(denoiser: nn.Module) -> int:
    """Memory that choosing layers takes beside the network: its layers in 8 bits, and float32 where it is stored in less."""
    return sum(
        value.numel() * (1 + 4 - value.element_size())
        for value in denoiser.parameters()
        if value.is_floating_point()
    )


@contextmanager
def probing(denoiser: nn.Module, probe: Int8Probe) -> Iterator[None]:
    """Inside the block every call of a candidate is noted; results stay exact."""
    handles = [
        layer.register_forward_hook(
            lambda module, args, output, path=path: probe.see(path, module, args[0], output)
        )
        for path, layer in int8_candidates(denoiser).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def put_layers(denoiser: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Put layers in the place of others, in the network; gives those that stood there."""
    before = {}
    for path, layer in layers.items():
        parent, _, child = path.rpartition(".")
        before[path] = denoiser.get_submodule(path)
        owner: Any = denoiser.get_submodule(parent)
        setattr(owner, child, layer)
    return before
