"""What was drawn for one sample: plain values that say exactly how it is degraded.

Sizes of intermediate images are not among them: factors are, so the same draw fits any image. Random fields (noise, grain)
are kept as the seed of their stream.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypir_cli.pixels.jpeg import Coder
from hypir_cli.train.degradation.filtering import ResizeMode
from hypir_cli.train.degradation.kernels import KernelKind


@dataclass(frozen=True, kw_only=True)
class KernelParameters:
    """One blur kernel."""

    kind: KernelKind
    """Family."""
    size: int
    """Odd side in pixels."""
    sigma_x: float = 0.0
    """Standard deviation along the first axis in pixels; unused by sinc."""
    sigma_y: float = 0.0
    """Standard deviation along the second axis in pixels; unused by sinc and the round families."""
    rotation: float = 0.0
    """Angle of the first axis in radians."""
    beta: float = 1.0
    """Exponent of the generalised and plateau families."""
    cutoff: float = 0.0
    """Cut-off frequency of sinc in radians per pixel."""


@dataclass(frozen=True, kw_only=True)
class ResizeParameters:
    """One resize."""

    factor: float
    """Factor on the side; 1 keeps the size."""
    mode: ResizeMode
    """Way of resampling."""


@dataclass(frozen=True, kw_only=True)
class NoiseParameters:
    """One layer of noise."""

    gaussian: bool
    """Gaussian, else poisson."""
    strength: float
    """Standard deviation in 8-bit levels (gaussian), or factor on the deviation (poisson)."""
    gray: bool
    """Whether the three channels share one map."""
    seed: int
    """Seed of the noise map."""


@dataclass(frozen=True, kw_only=True)
class JpegParameters:
    """One compression."""

    quality: float
    """Quality as libjpeg counts it."""
    coder: Coder
    """Which arithmetic."""


@dataclass(frozen=True, kw_only=True)
class RoundParameters:
    """One round; None where a step does not happen."""

    blur: KernelParameters | None
    """Blur."""
    resize: ResizeParameters
    """Resize."""
    noise: NoiseParameters | None
    """Noise."""
    jpeg: JpegParameters | None
    """Compression."""


@dataclass(frozen=True, kw_only=True)
class MarkParameters:
    """One scratch or speck; a speck is a scratch without length."""

    start: tuple[float, float]
    """One end (x, y) as shares of width and height."""
    end: tuple[float, float]
    """The other end."""
    radius: float
    """Half its width in pixels."""
    opacity: float
    """How much it covers, 0..1."""
    level: float
    """Its grey level, 0..1."""


@dataclass(frozen=True, kw_only=True)
class AgeingParameters:
    """How one paper print has aged; units as in `AgeingConfig`."""

    lens_sigma: float
    """Blur of the lens in pixels."""
    black_lift: float
    """Level of the faded black."""
    white_loss: float
    """Loss of paper white."""
    gamma: float
    """Exponent of the tone curve."""
    saturation: float
    """Colour that is left."""
    cast: float
    """Strength of the cast."""
    dye: tuple[float, float, float]
    """Colour (R, G, B) of the cast, 0..1."""
    grain: float
    """Deviation of the grain in 8-bit levels."""
    grain_size: float
    """Radius of one grain in pixels."""
    grain_seed: int
    """Seed of the grain map."""
    vignette: float
    """Darkening of the corners."""
    marks: tuple[MarkParameters, ...]
    """Scratches and dust."""


@dataclass(frozen=True, kw_only=True)
class OversharpenParameters:
    """One sharpening."""

    amount: float
    """Share of the detail that is added once more."""
    sigma: float
    """Deviation of the gaussian that detail is measured against, in pixels."""


@dataclass(frozen=True, kw_only=True)
class DegradationParameters:
    """Everything drawn for one sample."""

    scale: int
    """Final size divisor."""
    ageing: AgeingParameters | None
    """Ageing of the print, if it is one."""
    first: RoundParameters
    """First round."""
    second: RoundParameters
    """Second round."""
    final_mode: ResizeMode
    """Way of resampling to the final size."""
    final_sinc: KernelParameters | None
    """Last low-pass."""
    jpeg_last: bool
    """Whether the second JPEG comes after the final resize and sinc."""
    oversharpen: OversharpenParameters | None = None
    """Sharpening in the second round, if there was any."""
