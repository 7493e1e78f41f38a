"""Settings of `hypir eval`, and the protocols: named, documented sets of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hypir_cli.config.checks import check_within
from hypir_cli.config.flags import flag, group
from hypir_cli.config.presets import shipped_preset

PROTOCOLS = ("paper-div2k", "paper-realphoto60", "realsr-crop")


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """What is done to the images before they are scored; figures made with different values do not compare."""

    color_space: Literal["rgb", "y"] = flag("rgb", "--color-space")
    """Planes of psnr and ssim: the three channels, or studio-swing BT.601 luma (y)."""
    crop_border: int = flag(0, "--crop-border")
    """Pixels cut from every side before scoring; consistency alone sees whole images."""
    resize: Literal["none", "gt"] = flag("none", "--resize")
    """A restored image of another size than its GT: an error (none), or resized to the GT, bicubic (gt)."""
    shrink: int = 4
    """consistency compares the images at the restored size divided by this, or at the input's if smaller."""
    cell: int = 16
    """color-shift compares means over cells of this many pixels a side."""

    def __post_init__(self) -> None:
        if self.crop_border < 0:
            raise ValueError(f"measure.crop_border must not be negative, got {self.crop_border}")
        check_within(self, "measure", ("shrink", "cell"), least=1)


@dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
    """Intervals by resampling the images."""

    resamples: int = flag(10_000, "--resamples")
    """Number of resampled sets of images."""
    confidence: float = 0.95
    """Share of the resampled means inside the interval."""
    seed: int = flag(0, "--seed")
    """Seed of the resampling; the same seed gives the same intervals."""

    def __post_init__(self) -> None:
        check_within(self, "bootstrap", ("resamples",), least=1)
        if self.seed < 0:
            raise ValueError(f"bootstrap.seed must not be negative, got {self.seed}")
        if not 0.0 < self.confidence < 1.0:
            raise ValueError(f"bootstrap.confidence must be in 0..1, got {self.confidence}")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A blind rating page for people."""

    folder: Path | None = flag(None, "--user-study")
    """Folder for a blind A/B rating page, its pictures and the key."""
    max_pairs: int = flag(100, "--study-pairs")
    """Most pairs one rater is shown."""
    seed: int = 0
    """Seed of the order of pairs and of the sides."""

    def __post_init__(self) -> None:
        check_within(self, "study", ("max_pairs",), least=1)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """All settings of `hypir eval`."""

    protocol: str = flag("", "--protocol", panel="Measuring", metavar="NAME")
    """Named set of settings: paper-div2k, paper-realphoto60 or realsr-crop."""
    description: str = ""
    """What the protocol is and where it is from, kept with the figures."""
    metrics: tuple[str, ...] = flag((), "--metrics", panel="Measuring", metavar="ID,ID...")
    """Metric ids, comma-separated; unset takes all that need no download and whose images are given."""
    measure: MeasureConfig = group(MeasureConfig, "Measuring")
    """Preparation of the images."""
    bootstrap: BootstrapConfig = group(BootstrapConfig, "Measuring")
    """Intervals."""
    images: Literal["auto", "embed", "beside", "none"] = flag("auto", "--images", panel="Reports")
    """Pictures of an HTML report: inside the file, in a folder beside it, none; auto embeds small sets."""
    device: str = flag("auto", "--device", panel="Measuring")
    """Where learned metrics run: auto, cpu, cuda, cuda:N or mps."""
    timeout: float = 10.0
    """Seconds to wait for a server that holds a metric's weights."""
    study: StudyConfig = group(StudyConfig, "Ratings by people")
    """Blind rating page."""

    def __post_init__(self) -> None:
        repeated = sorted({name for name in self.metrics if self.metrics.count(name) > 1})
        if repeated:
            raise ValueError(f"metrics names {', '.join(repeated)} more than once")
        if self.timeout <= 0:
            raise ValueError(f"timeout must be above 0, got {self.timeout}")


def protocol_values(name: str) -> dict[str, Any]:
    """The nested mapping of a named protocol.

    Raises:
        ConfigError: There is no such protocol.
    """
    return shipped_preset("protocol", name, known=PROTOCOLS)
