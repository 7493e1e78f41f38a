"""Settings of the degradation pipeline; the defaults are the numbers the public release was trained with.

A range is a pair (low, high) that values are drawn from uniformly; a probability lies in 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hypir_cli.config.checks import check_probability, check_within
from hypir_cli.config.presets import shipped_preset
from hypir_cli.config.schema import Layer, resolve

Range = tuple[float, float]
PRESETS = ("realesrgan", "light", "photo-print", "gentle", "phone", "scan")


@dataclass(frozen=True, kw_only=True)
class KernelMixConfig:
    """How often each family of blur kernels is drawn; the shares are divided by their sum."""

    iso: float = 0.45
    """Share of round gaussians."""
    aniso: float = 0.25
    """Share of stretched, rotated gaussians."""
    generalized_iso: float = 0.12
    """Share of round generalised gaussians (exponent `betag`)."""
    generalized_aniso: float = 0.03
    """Share of stretched generalised gaussians."""
    plateau_iso: float = 0.12
    """Share of round plateau kernels (exponent `betap`)."""
    plateau_aniso: float = 0.03
    """Share of stretched plateau kernels."""

    def __post_init__(self) -> None:
        shares = list(vars(self).values())
        if min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"kernel shares must be >= 0 and not all 0, got {shares}")


@dataclass(frozen=True, kw_only=True)
class BlurConfig:
    """One blur: an odd kernel of a random family, or a sinc low-pass."""

    probability: float = 1.0
    """Chance that the image is blurred at all."""
    sizes: tuple[int, ...] = (7, 9, 11, 13, 15, 17, 19, 21)
    """Kernel sides in pixels, odd; one is drawn."""
    sigma: Range = (0.2, 3.0)
    """Standard deviation along each axis in pixels."""
    betag: Range = (0.5, 4.0)
    """Exponent of the generalised gaussians; half of the draws are in (low, 1), half in (1, high)."""
    betap: Range = (1.0, 2.0)
    """Exponent of the plateau kernels; half of the draws are in (low, 1), half in (1, high)."""
    sinc_probability: float = 0.1
    """Chance that the kernel is a sinc low-pass (ringing) instead."""
    kinds: KernelMixConfig = field(default_factory=KernelMixConfig)
    """Shares of the kernel families."""

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_probability("sinc_probability", self.sinc_probability)
        if not self.sizes or any(size < 3 or size % 2 == 0 for size in self.sizes):
            raise ValueError(f"blur sizes must be odd and at least 3, got {self.sizes}")
        for name in ("sigma", "betag", "betap"):
            check_range(name, getattr(self, name), above=0.0)
        for name in ("betag", "betap"):
            check_encloses_one(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class SecondBlurConfig(BlurConfig):
    """The second blur: less often, and weaker."""

    probability: float = 0.8
    """Chance that the image is blurred a second time."""
    sigma: Range = (0.2, 1.5)
    """Standard deviation along each axis in pixels."""


@dataclass(frozen=True, kw_only=True)
class ResizeConfig:
    """One random resize; the three chances are divided by their sum."""

    up: float = 0.2
    """Chance of enlarging."""
    down: float = 0.7
    """Chance of shrinking."""
    keep: float = 0.1
    """Chance of keeping the size."""
    factors: Range = (0.15, 1.5)
    """Smallest and largest factor; shrinking draws from (low, 1), enlarging from (1, high)."""
    modes: tuple[Literal["area", "bilinear", "bicubic"], ...] = ("area", "bilinear", "bicubic")
    """Ways of resampling; one is drawn."""

    def __post_init__(self) -> None:
        chances = (self.up, self.down, self.keep)
        if min(chances) < 0 or sum(chances) <= 0:
            raise ValueError(f"up, down and keep must be >= 0 and not all 0, got {chances}")
        check_range("factors", self.factors, above=0.0)
        check_encloses_one("factors", self.factors)
        if not self.modes:
            raise ValueError("modes must name at least one of area, bilinear, bicubic")


@dataclass(frozen=True, kw_only=True)
class SecondResizeConfig(ResizeConfig):
    """The second resize; its factors are relative to the final size."""

    up: float = 0.3
    """Chance of ending above the final size."""
    down: float = 0.4
    """Chance of ending below the final size."""
    keep: float = 0.3
    """Chance of ending at the final size."""
    factors: Range = (0.3, 1.2)
    """Smallest and largest factor of the final size."""


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Gaussian or poisson noise."""

    probability: float = 1.0
    """Chance of any noise at all."""
    gaussian_probability: float = 0.5
    """Chance that the noise is gaussian; else it is poisson."""
    gaussian_sigma: Range = (1.0, 30.0)
    """Standard deviation of gaussian noise in 8-bit levels."""
    poisson_scale: Range = (0.05, 3.0)
    """Factor on the deviation of poisson noise."""
    gray_probability: float = 0.4
    """Chance that the three channels share one noise map."""

    def __post_init__(self) -> None:
        for name in ("probability", "gaussian_probability", "gray_probability"):
            check_probability(name, getattr(self, name))
        check_range("gaussian_sigma", self.gaussian_sigma)
        check_range("poisson_scale", self.poisson_scale)


@dataclass(frozen=True, kw_only=True)
class SecondNoiseConfig(NoiseConfig):
    """The second noise: a little weaker."""

    gaussian_sigma: Range = (1.0, 25.0)
    """Standard deviation of gaussian noise in 8-bit levels."""
    poisson_scale: Range = (0.05, 2.5)
    """Factor on the deviation of poisson noise."""


@dataclass(frozen=True, kw_only=True)
class JpegConfig:
    """JPEG compression, 4:2:0."""

    probability: float = 1.0
    """Chance of compressing."""
    quality: Range = (30.0, 95.0)
    """Quality as libjpeg counts it, 1..100."""
    coder: Literal["release", "standard"] = "release"
    """`standard` follows libjpeg closely; `release` keeps the oddities of the release (its luma table is transposed)."""

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_range("quality", self.quality, above=0.0)
        if self.quality[1] > 100:
            raise ValueError(f"quality must be at most 100, got {self.quality}")


@dataclass(frozen=True, kw_only=True)
class FirstOrderConfig:
    """The first round: blur, resize, noise, JPEG."""

    blur: BlurConfig = field(default_factory=BlurConfig)
    """Blur of the full-size image."""
    resize: ResizeConfig = field(default_factory=ResizeConfig)
    """Resize, relative to the full size."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Noise after the resize."""
    jpeg: JpegConfig = field(default_factory=JpegConfig)
    """Compression that ends the round."""


@dataclass(frozen=True, kw_only=True)
class SecondOrderConfig:
    """The second round; its JPEG comes before or after the final resize and sinc, with equal chance."""

    blur: SecondBlurConfig = field(default_factory=SecondBlurConfig)
    """Second blur."""
    resize: SecondResizeConfig = field(default_factory=SecondResizeConfig)
    """Second resize, relative to the final size."""
    noise: SecondNoiseConfig = field(default_factory=SecondNoiseConfig)
    """Second noise."""
    jpeg: JpegConfig = field(default_factory=JpegConfig)
    """Second compression."""
    final_sinc_probability: float = 0.8
    """Chance of a last sinc low-pass at the final size."""
    final_sinc_sizes: tuple[int, ...] = (7, 9, 11, 13, 15, 17, 19, 21)
    """Sides of the last sinc in pixels, odd; one is drawn."""

    def __post_init__(self) -> None:
        check_probability("final_sinc_probability", self.final_sinc_probability)
        if any(size < 3 or size % 2 == 0 for size in self.final_sinc_sizes):
            raise ValueError(f"final_sinc_sizes must be odd, got {self.final_sinc_sizes}")


@dataclass(frozen=True, kw_only=True)
class SharpenConfig:
    """Unsharp masking of the clean image, and what it is used for here."""

    enabled: bool = True
    """Sharpen the clean image before it is degraded, as the release does."""
    weight: float = 0.5
    """Share of the detail that is added once more."""
    radius: int = 50
    """Side of the gaussian in pixels; an even side is made odd by adding one."""
    threshold: float = 10.0
    """Detail below this many 8-bit levels is left alone."""

    def __post_init__(self) -> None:
        check_within(self, "", ("radius",), least=3)


@dataclass(frozen=True, kw_only=True)
class AgeingConfig:
    """What happened to a paper print before it was scanned; off unless `probability` is above 0."""

    probability: float = 0.0
    """Chance that the image is an old print."""
    lens_sigma: Range = (0.4, 2.0)
    """Blur of the taking lens in pixels."""
    black_lift: Range = (0.02, 0.2)
    """How far black has faded towards paper, on the scale 0..1."""
    white_loss: Range = (0.0, 0.15)
    """How far paper white has darkened, on the scale 0..1."""
    gamma: Range = (0.8, 1.25)
    """Exponent of the tone curve; below 1 lifts the middle tones."""
    saturation: Range = (0.35, 1.0)
    """Colour that is left; 0 is grey."""
    cast: Range = (0.02, 0.15)
    """Strength of the colour cast: share of the image replaced by its product with the dye colour."""
    grain: Range = (2.0, 14.0)
    """Standard deviation of the grain in middle grey, in 8-bit levels."""
    grain_size: Range = (0.5, 1.3)
    """Radius (standard deviation) of one grain in pixels."""
    vignette: Range = (0.0, 0.35)
    """Darkening of the corners, on the scale 0..1."""
    max_scratches: int = 4
    """Most scratches on one print."""
    max_dust: int = 25
    """Most specks of dust on one print."""

    def __post_init__(self) -> None:
        check_probability("probability", self.probability)
        check_range("lens_sigma", self.lens_sigma, above=0.0)
        check_range("grain_size", self.grain_size, above=0.0)
        check_range("gamma", self.gamma, above=0.0)
        for name in ("black_lift", "white_loss", "saturation", "cast", "grain", "vignette"):
            check_range(name, getattr(self, name))
        if self.black_lift[1] + self.white_loss[1] >= 1:
            raise ValueError(
                "black_lift and white_loss together must leave some contrast (sum < 1)"
            )
        if self.max_scratches < 0 or self.max_dust < 0:
            raise ValueError("max_scratches and max_dust must be at least 0")


@dataclass(frozen=True, kw_only=True)
class OversharpenConfig:
    """Sharpening that a camera or a program did before the picture came here; off unless `probability` is above 0. A model that
    never sees its white rims makes them stronger."""

    probability: float = 0.0
    """Chance that the picture was sharpened."""
    amount: Range = (0.3, 1.5)
    """Share of the detail that was added once more."""
    sigma: Range = (0.6, 1.6)
    """Standard deviation of the gaussian that detail is measured against, in pixels."""

    def __post_init__(self) -> None:
        check_probability("oversharpen.probability", self.probability)
        check_range("oversharpen.amount", self.amount)
        check_range("oversharpen.sigma", self.sigma, above=0.0)


@dataclass(frozen=True, kw_only=True)
class DegradationConfig:
    """The whole pipeline: print ageing, first round, second round, final size."""

    scale: int = 4
    """Final size is the input's divided by this; 1 keeps it."""
    output: Literal["full", "small"] = "full"
    """`full` enlarges the result (bicubic) back to the input's size; `small` leaves it at the final size."""
    sharpen: SharpenConfig = field(default_factory=SharpenConfig)
    """Sharpening of the clean image before it is degraded."""
    ageing: AgeingConfig = field(default_factory=AgeingConfig)
    """Ageing of a paper print."""
    first: FirstOrderConfig = field(default_factory=FirstOrderConfig)
    """First round."""
    second: SecondOrderConfig = field(default_factory=SecondOrderConfig)
    """Second round."""
    oversharpen: OversharpenConfig = field(default_factory=OversharpenConfig)
    """Sharpening between the noise and the JPEG of the second round."""

    def __post_init__(self) -> None:
        check_within(self, "", ("scale",), least=1)


def check_range(name: str, bounds: Range, *, above: float | None = None) -> None:
    """Refuse bounds that are reversed, negative, or not `above` a limit, with a `ValueError`."""
    low, high = bounds
    if low > high or low < 0 or (above is not None and low <= above):
        limit = f"above {above:g}" if above is not None else "at least 0"
        raise ValueError(f"{name} must be a pair low <= high, {limit}, got {list(bounds)}")


def check_encloses_one(name: str, bounds: Range) -> None:
    """Refuse bounds that do not have 1 between them, with a `ValueError` that names them."""
    if not bounds[0] <= 1.0 <= bounds[1]:
        raise ValueError(f"{name} must have 1 between its ends, got {list(bounds)}")


def preset_values(name: str) -> dict[str, Any]:
    """The nested mapping of a named preset.

    Raises:
        ConfigError: There is no such preset.
    """
    return shipped_preset("degradation", name, known=PRESETS)


def degradation_config(
    preset: str = "realesrgan", *, layers: Sequence[tuple[str, Mapping[str, Any]]] = ()
) -> DegradationConfig:
    """Settings of a preset with layers (file, flags) on top.

    Raises:
        ConfigError: Unknown preset or key, or a bad value.
    """
    base: Layer = (f"preset {preset}", preset_values(preset))
    return resolve(DegradationConfig, layers=[base, *layers])
