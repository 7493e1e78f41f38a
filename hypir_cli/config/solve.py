"""Settings of `hypir solve`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hypir_cli.config.restore import OutputConfig, RuntimeConfig

Task = Literal[
    "super-resolution", "gaussian-blur", "motion-blur", "kernel", "inpaint", "colorize", "jpeg"
]
Method = Literal["dps", "dpps", "spgd", "latino"]
MethodChoice = Literal["auto", "dps", "dpps", "spgd", "latino"]


def _check_range(
    settings: object, group: str, names: Sequence[str], *, least: float, most: float = math.inf
) -> None:
    """Refuse numbers outside least..most; unset ones pass, infinite ones do not."""
    for name in names:
        value = getattr(settings, name)
        if value is None or (least <= value <= most and value < math.inf):
            continue
        wanted = f"at least {least:g}" if most == math.inf else f"in {least:g}..{most:g}"
        raise ValueError(f"{group}.{name} must be {wanted}, got {value}")


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Which diffusion model says what photographs look like."""

    backbone: str = "tiny"
    """Diffusion model: tiny (embedded, no download), sd2, sdxl, sd3, sd35, flux or flux2."""
    base: str | None = None
    """Its weights: a diffusers-layout folder or a hub id; unset takes the model's own. No restoration LoRA is used."""
    revision: str | None = None
    """Hub revision (branch, tag or commit) of the weights."""
    pixel: Path | None = None
    """Folder of a pixel-space diffusers UNet2DModel (DDPM or ADM), instead of a backbone."""
    prompt: str = ""
    """Prompt for backbones that use one."""


@dataclass(frozen=True, kw_only=True)
class DamageConfig:
    """What is known about the damage."""

    task: Task = "inpaint"
    """What happened to the photographs: super-resolution, gaussian-blur, motion-blur, kernel, inpaint, colorize or jpeg."""
    factor: int = 4
    """Whole factor by which they were shrunk (super-resolution); the result is that much larger."""
    sigma: float = 3.0
    """Standard deviation of a gaussian blur in pixels."""
    kernel: Path | None = None
    """Point-spread function (PNG, TIFF or .npy) of the task kernel."""
    kernel_size: int = 61
    """Odd side of the gaussian and shaken-hand kernels in pixels."""
    length: float | None = None
    """Length of a straight motion in pixels; unset takes a shaken hand."""
    angle: float = 0.0
    """Direction of a straight motion in degrees, from the horizontal against the clock."""
    intensity: float = 0.5
    """How much a shaken hand wanders, 0 (nearly a line) to 1 (a scrawl)."""
    mask: Path | None = None
    """Where the photograph is lost (inpaint): white on black, one file for all or a folder with the same names."""
    drop: float | None = None
    """Share of pixels that are lost at random (inpaint), instead of a mask."""
    box: int | None = None
    """Side of a lost centred square in pixels (inpaint), instead of a mask."""
    jpeg_quality: int = 20
    """Quality of the JPEG compression, 1 to 100 (jpeg)."""
    seed: int = 0
    """Seed of shaken hands and of pixels lost at random."""

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"damage.kernel_size must be odd, got {self.kernel_size}")
        _check_range(self, "damage", ("factor", "kernel_size", "box"), least=1)
        _check_range(self, "damage", ("sigma", "length"), least=1e-6)
        _check_range(self, "damage", ("intensity", "drop"), least=0, most=1)
        _check_range(self, "damage", ("jpeg_quality",), least=1, most=100)
        if not math.isfinite(self.angle):
            raise ValueError(f"damage.angle must be a finite number, got {self.angle}")
        sources = [name for name in ("mask", "drop", "box") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise ValueError(f"choose one of {', '.join(f'damage.{name}' for name in sources)}")


@dataclass(frozen=True, kw_only=True)
class DpsConfig:
    """DPS, and DPPS on top of it."""

    scale: float | None = None
    """Step along the gradient of ||y - A(x0)||; unset takes the task's."""
    candidates: int = 50
    """Most proposals per step of DPPS, of which the one that fits the measurement best is kept; at least 2."""
    target: Literal["measurement", "posterior"] = "measurement"
    """What proposals are compared with: the measurement itself, or the posterior mean it would give."""

    def __post_init__(self) -> None:
        _check_range(self, "dps", ("scale",), least=0)
        _check_range(self, "dps", ("candidates",), least=2)


@dataclass(frozen=True, kw_only=True)
class SpgdConfig:
    """SPGD."""

    lr: float | None = None
    """Step along the gradient of ||y - A(x0)||^2; unset takes the task's."""
    decay: float = 0.99
    """Share of the step that is gone at the end."""
    warmup: int = 5
    """Data steps before each denoising step; 1 is no warm-up."""
    momentum: float = 0.9
    """Most of the last direction that is kept when the new one agrees with it; 0 is none."""
    carry: bool = False
    """Keep the direction from one noise level to the next."""
    stop: bool = True
    """End the data steps where the error is down to the noise."""
    sigma_max: float = 100.0
    """Noise level at the start, at most what the prior knows."""
    sigma_min: float = 0.1
    """Last noise level."""

    def __post_init__(self) -> None:
        _check_range(self, "spgd", ("lr",), least=0)
        _check_range(self, "spgd", ("warmup",), least=1)
        _check_range(self, "spgd", ("decay",), least=0, most=1)
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"spgd.momentum must be at least 0 and below 1, got {self.momentum}")
        if not 0.0 < self.sigma_min <= self.sigma_max:
            raise ValueError("spgd.sigma_min must be above 0 and at most spgd.sigma_max")


@dataclass(frozen=True, kw_only=True)
class LatinoConfig:
    """The method without gradients."""

    start: float | None = None
    """Noise level at the start; unset takes the task's."""
    end: float = 0.05
    """Last noise level."""
    trust: float = 0.5
    """How far a denoised image may be off at the start, on the scale -1..1; large lets the measurement decide."""

    def __post_init__(self) -> None:
        if self.start is not None and not self.end <= self.start < math.inf:
            raise ValueError(f"latino.start must be at least latino.end, got {self.start}")
        if self.end <= 0 or self.trust <= 0:
            raise ValueError("latino.end and latino.trust must be above 0")


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How an image is found."""

    method: MethodChoice = "auto"
    """dps, dpps, spgd or latino; auto takes the one that did best for the task."""
    steps: int | None = None
    """Noise levels to stop by; unset takes the method's."""
    noise: float = 0.01
    """Standard deviation of the measurement's noise, the whole range of brightness counting 2 (0.01 is 1.3 of 255 levels)."""
    seed: int = 231
    """Seed of all noise; sample k of an image uses seed + k."""
    samples: int = 1
    """Restorations per image, saved as NAME-1, NAME-2..."""
    dps: DpsConfig = field(default_factory=DpsConfig)
    """DPS and DPPS."""
    spgd: SpgdConfig = field(default_factory=SpgdConfig)
    """SPGD."""
    latino: LatinoConfig = field(default_factory=LatinoConfig)
    """The method without gradients."""

    def __post_init__(self) -> None:
        _check_range(self, "sampling", ("steps", "samples"), least=1)
        _check_range(self, "sampling", ("noise",), least=0)


@dataclass(frozen=True, kw_only=True)
class SolveTileConfig:
    """How large images are cut."""

    size: int | None = None
    """Largest tile side in image pixels; unset takes the prior's own."""
    overlap: int | None = None
    """Least overlap of neighbouring tiles in image pixels; unset is 64, or a quarter of a smaller tile. A blur needs its width."""

    def __post_init__(self) -> None:
        _check_range(self, "tiles", ("size",), least=16)
        _check_range(self, "tiles", ("overlap",), least=0)


@dataclass(frozen=True, kw_only=True)
class SolveConfig:
    """All settings of `hypir solve`."""

    prior: PriorConfig = field(default_factory=PriorConfig)
    """Diffusion model."""
    damage: DamageConfig = field(default_factory=DamageConfig)
    """Known damage."""
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    """Method."""
    tiles: SolveTileConfig = field(default_factory=SolveTileConfig)
    """Tiles."""
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    """Device and number format."""
    output: OutputConfig = field(default_factory=OutputConfig)
    """Files written."""
