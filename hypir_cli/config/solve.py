"""Settings of `hypir solve`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypir_cli.config.checks import check_within
from hypir_cli.config.flags import flag, group
from hypir_cli.config.restore import OutputConfig, RuntimeConfig
from hypir_cli.config.scale import ClusterConfig

Task = Literal[
    "super-resolution", "gaussian-blur", "motion-blur", "kernel", "inpaint", "colorize", "jpeg"
]
Method = Literal["dps", "dpps", "spgd", "latino"]
MethodChoice = Literal["auto", "dps", "dpps", "spgd", "latino"]


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """Which diffusion model says what photographs look like."""

    backbone: str = flag("tiny", "--backbone")
    """Diffusion model: tiny (embedded, no download) or another that `hypir info` lists."""
    base: str | None = flag(None, "--base", metavar="PATH_OR_HUB_ID")
    """Its weights: a diffusers-layout folder or a hub id; unset takes the model's own. No restoration LoRA is used."""
    revision: str | None = flag(None, "--revision")
    """Hub revision (branch, tag or commit) of the weights."""
    pixel: Path | None = flag(None, "--pixel-prior", metavar="DIR")
    """Folder of a pixel-space diffusers UNet2DModel (DDPM or ADM), instead of a backbone."""
    prompt: str = flag("", "--prompt", metavar="TEXT")
    """Prompt for backbones that use one."""


@dataclass(frozen=True, kw_only=True)
class DamageConfig:
    """What is known about the damage."""

    task: Task = flag("inpaint", "--task")
    """What happened to the photographs: super-resolution, gaussian-blur, motion-blur, kernel, inpaint, colorize or jpeg."""
    factor: int = flag(4, "--factor")
    """Whole factor by which they were shrunk (super-resolution); the result is that much larger."""
    sigma: float = flag(3.0, "--sigma", metavar="PX")
    """Standard deviation of a gaussian blur in pixels."""
    kernel: str | None = flag(None, "--kernel", metavar="FILE")
    """Point-spread function (PNG, TIFF or .npy) of the task kernel; a path or a URL."""
    kernel_size: int = flag(61, "--kernel-size", metavar="PX")
    """Odd side of the gaussian and shaken-hand kernels in pixels."""
    length: float | None = flag(None, "--length", metavar="PX")
    """Length of a straight motion in pixels; unset takes a shaken hand."""
    angle: float = flag(0.0, "--angle", metavar="DEGREES")
    """Direction of a straight motion in degrees, from the horizontal against the clock."""
    intensity: float = flag(0.5, "--intensity")
    """How much a shaken hand wanders, 0 (nearly a line) to 1 (a scrawl)."""
    mask: str | None = flag(None, "--mask", metavar="FILE_OR_DIR")
    """Where the photograph is lost (inpaint): white on black, one file for all or a folder with the same names; a path or a URL."""
    drop: float | None = flag(None, "--drop", metavar="SHARE")
    """Share of pixels that are lost at random (inpaint), instead of a mask."""
    box: int | None = flag(None, "--box", metavar="PX")
    """Side of a lost centred square in pixels (inpaint), instead of a mask."""
    jpeg_quality: int = flag(20, "--jpeg-quality")
    """Quality of the JPEG compression, 1 to 100 (jpeg)."""
    seed: int = flag(0, "--damage-seed")
    """Seed of shaken hands and of pixels lost at random."""

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise ValueError(f"damage.kernel_size must be odd, got {self.kernel_size}")
        check_within(self, "damage", ("factor", "kernel_size", "box"), least=1)
        check_within(self, "damage", ("sigma", "length"), least=1e-6)
        check_within(self, "damage", ("intensity", "drop"), least=0, most=1)
        check_within(self, "damage", ("jpeg_quality",), least=1, most=100)
        if not math.isfinite(self.angle):
            raise ValueError(f"damage.angle must be a finite number, got {self.angle}")
        sources = [name for name in ("mask", "drop", "box") if getattr(self, name) is not None]
        if len(sources) > 1:
            raise ValueError(f"choose one of {', '.join(f'damage.{name}' for name in sources)}")

    @property
    def result_factor(self) -> int:
        """Side of the result / side of the measured picture."""
        return self.factor if self.task == "super-resolution" else 1


@dataclass(frozen=True, kw_only=True)
class DpsConfig:
    """DPS, and DPPS on top of it."""

    scale: float | None = flag(None, "--scale")
    """Step along the gradient of ||y - A(x0)||; unset takes the task's."""
    candidates: int = 50
    """Most proposals per step of DPPS, of which the one that fits the measurement best is kept; at least 2."""
    target: Literal["measurement", "posterior"] = "measurement"
    """What proposals are compared with: the measurement itself, or the posterior mean it would give."""

    def __post_init__(self) -> None:
        check_within(self, "dps", ("scale",), least=0)
        check_within(self, "dps", ("candidates",), least=2)


@dataclass(frozen=True, kw_only=True)
class SpgdConfig:
    """SPGD."""

    lr: float | None = flag(None, "--lr")
    """Step along the gradient of ||y - A(x0)||^2; unset takes the task's."""
    decay: float = 0.99
    """Share of the step that is gone at the end."""
    warmup: int = flag(5, "--warmup")
    """Data steps before each denoising step; 1 is no warm-up."""
    momentum: float = flag(0.9, "--momentum")
    """Most of the last direction that is kept when the new one agrees with it; 0 is none."""
    carry: bool = False
    """Keep the direction from one noise level to the next."""
    stop: bool = flag(True, "--stop/--no-stop")
    """End the data steps where the error is down to the noise."""
    sigma_max: float | None = None
    """Noise level at the start, at most what the prior knows; unset takes the prior's kind's."""
    sigma_min: float = 0.1
    """Last noise level."""

    def __post_init__(self) -> None:
        check_within(self, "spgd", ("lr",), least=0)
        check_within(self, "spgd", ("warmup",), least=1)
        check_within(self, "spgd", ("decay",), least=0, most=1)
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"spgd.momentum must be at least 0 and below 1, got {self.momentum}")
        if not 0.0 < self.sigma_min <= (self.sigma_max or math.inf):
            raise ValueError("spgd.sigma_min must be above 0 and at most spgd.sigma_max")


@dataclass(frozen=True, kw_only=True)
class LatinoConfig:
    """The method without gradients."""

    start: float | None = flag(None, "--start")
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

    method: MethodChoice = flag("auto", "--method")
    """dps, dpps, spgd or latino; auto takes the one that did best for the task."""
    steps: int | None = flag(None, "--steps")
    """Noise levels to stop by; unset takes the method's."""
    noise: float = flag(0.01, "--noise", panel="Damage")
    """Standard deviation of the measurement's noise, the whole range of brightness counting 2 (0.01 is 1.3 of 255 levels)."""
    seed: int = flag(231, "--seed")
    """Seed of all noise; sample k of an image uses seed + k."""
    samples: int = flag(1, "--samples")
    """Restorations per image, saved as NAME-1, NAME-2..."""
    dps: DpsConfig = group(DpsConfig)
    """DPS and DPPS."""
    spgd: SpgdConfig = group(SpgdConfig)
    """SPGD."""
    latino: LatinoConfig = group(LatinoConfig)
    """The method without gradients."""

    def __post_init__(self) -> None:
        check_within(self, "sampling", ("steps", "samples"), least=1)
        check_within(self, "sampling", ("noise",), least=0)


@dataclass(frozen=True, kw_only=True)
class SolveTileConfig:
    """How large images are cut."""

    size: int | None = flag(None, "--tile", metavar="PX")
    """Largest tile side in image pixels; unset takes the prior's own."""
    overlap: int | None = flag(None, "--overlap", metavar="PX")
    """Least overlap of neighbouring tiles in image pixels; unset is 64, or a quarter of a smaller tile. A blur needs its width."""

    def __post_init__(self) -> None:
        check_within(self, "tiles", ("size",), least=16)
        check_within(self, "tiles", ("overlap",), least=0)


@dataclass(frozen=True, kw_only=True)
class SolveConfig:
    """All settings of `hypir solve`."""

    damage: DamageConfig = group(DamageConfig, "Damage")
    """Known damage."""
    sampling: SamplingConfig = group(SamplingConfig, "Method")
    """Method."""
    prior: PriorConfig = group(PriorConfig, "Prior")
    """Diffusion model."""
    tiles: SolveTileConfig = group(SolveTileConfig, "Tiles")
    """Tiles."""
    runtime: RuntimeConfig = group(RuntimeConfig, "Runtime")
    """Device and number format."""
    output: OutputConfig = group(OutputConfig, "Output")
    """Files written."""
    cluster: ClusterConfig = group(ClusterConfig, "Many machines")
    """Who works through a manifest."""
