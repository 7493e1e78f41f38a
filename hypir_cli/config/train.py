"""Settings of `hypir train-encoder` and `hypir train-gan`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from hypir_cli.config.adversarial import (
    TEACHER_SIDE,
    ControlsConfig,
    DiscriminatorConfig,
    LoraConfig,
    LossConfig,
    TeacherConfig,
)
from hypir_cli.config.data import DataConfig
from hypir_cli.config.degradation import PRESETS as DEGRADATION_PRESETS
from hypir_cli.config.degradation import DegradationConfig, preset_values
from hypir_cli.config.families import family_names, find_family
from hypir_cli.config.schedule import (
    CheckpointConfig,
    EmaConfig,
    LoggingConfig,
    OptimConfig,
    ScheduleConfig,
    ValidationConfig,
)
from hypir_cli.config.schema import Layer, flatten, load_yaml, resolve
from hypir_cli.errors import ConfigError

Command = Literal["encoder", "gan"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model is trained."""

    backbone: str = "tiny"
    """Diffusion model: tiny (embedded, no download) or another that `hypir info` lists."""
    base: str | None = None
    """Base weights: a diffusers-layout folder or a hub id; unset takes the backbone's own."""
    revision: str | None = None
    """Hub revision (branch, tag or commit) of the base weights."""
    encoder: Path | None = None
    """Fine-tuned VAE encoder to start from (the output of train-encoder)."""
    timestep: int | None = None
    """Timestep into the denoiser, 0 to 999; unset takes the backbone's."""
    coeff_timestep: int | None = None
    """Timestep of the clean-latent formula, 0 to 999; unset takes the backbone's."""
    posterior: Literal["mean", "sample"] = "mean"
    """Mean of the VAE posterior of the degraded image, or a sample of it as the release trains."""

    def __post_init__(self) -> None:
        for name in ("timestep", "coeff_timestep"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 999:
                raise ValueError(f"model.{name} must be in 0..999, got {value}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What both training commands share."""

    preset: str = ""
    """Values to start from, by the name of a backbone; every key below still wins."""
    output_dir: Path = Path("runs/train")
    """Folder of the run: config.yaml, checkpoints/, logs/, samples/, metrics.jsonl and the result."""
    seed: int = 231
    """Seed of every random draw."""
    device: str = "auto"
    """auto, cpu, cuda or mps; with many processes each takes its own."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Model."""
    data: DataConfig = field(default_factory=DataConfig)
    """Training data."""
    degradation_preset: str = "realesrgan"
    """Degradation to start from: realesrgan, light or photo-print."""
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    """How degraded partners are made."""
    degradation_mix: tuple[str, ...] = ()
    """Further degradation presets, as they stand; every sample draws one of all, equally likely."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Length, step sizes and batches."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimiser."""
    ema: EmaConfig = field(default_factory=EmaConfig)
    """Averaged weights."""
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    """Logs."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Validation."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """Checkpoints."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if not re.fullmatch(r"auto|cpu|mps|cuda", self.device):
            raise ValueError(f"device must be auto, cpu, cuda or mps, got {self.device!r}")
        for name in self.degradation_mix:
            if name not in DEGRADATION_PRESETS:
                known = ", ".join(DEGRADATION_PRESETS)
                raise ValueError(f"degradation_mix must name presets ({known}), got {name!r}")
        if self.optim.batch_size % self.data.reuse:
            raise ValueError(
                f"optim.batch_size {self.optim.batch_size} is not a multiple of data.reuse {self.data.reuse}"
            )
        if self.checkpoint.keep_best != "none" and not self.validation.sources:
            raise ValueError("checkpoint.keep_best needs validation.sources")


@dataclass(frozen=True, kw_only=True)
class TrainEncoderConfig(RunConfig):
    """All settings of `hypir train-encoder`."""

    target: Literal["frozen", "paper", "pixel"] = "frozen"
    """What the decoded latent of the degraded image is compared with: that of the clean image by the original encoder
    (frozen), by the encoder in training (paper; can collapse), or the clean image itself (pixel)."""
    pixel_kind: Literal["mse", "log-mse"] = "mse"
    """How the images differ: mean squared error on the scale -1..1, or each image's logarithm of it, which counts decibels."""


@dataclass(frozen=True, kw_only=True)
class TrainGanConfig(RunConfig):
    """All settings of `hypir train-gan`."""

    lora: LoraConfig = field(default_factory=LoraConfig)
    """Adapters."""
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    """User controls."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Losses."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """Teacher."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Discriminator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss.texture > 0 and not self.controls.texture:
            raise ValueError("loss.texture needs controls.texture: true")
        side = self.data.crop_size
        if self.teacher.name != "none" and (side < TEACHER_SIDE or side % 4):
            raise ValueError(
                f"teacher.name needs data.crop_size to be a multiple of 4 from {TEACHER_SIDE} up, got {side}"
            )


def train_layers(cls: type[T], layers: Sequence[Layer], *, command: Command) -> list[Layer]:
    """The given layers, preceded by the presets that they name.

    Args:
        cls: `TrainEncoderConfig` or `TrainGanConfig`.
        layers: Settings file, `--set`, flags; later ones win.
        command: Section of the preset file that applies.

    Raises:
        ConfigError: An unknown key or preset.
    """
    below = list(layers)
    name = _last(cls, below, "preset")
    if name:
        below.insert(0, (f"preset {name}", preset_section(str(name), command)))
    degradation = _last(cls, below, "degradation_preset") or DEGRADATION_PRESETS[0]
    values = {"degradation": preset_values(str(degradation))}
    return [(f"degradation preset {degradation}", values), *below]


def train_config(cls: type[T], layers: Sequence[Layer], *, command: Command) -> T:
    """Checked settings of a training command; see `train_layers`."""
    return resolve(cls, layers=train_layers(cls, layers, command=command))


def preset_section(name: str, command: Command) -> dict[str, Any]:
    """The values of a training preset for one command.

    Raises:
        ConfigError: There is no such preset.
    """
    path = find_family(name).train_preset if name in family_names() else None
    if path is None:
        known = ", ".join(family_names())
        raise ConfigError(f"there is no training preset {name!r}.", hint=f"known: {known}")
    sections = load_yaml(path)
    return {"preset": name, **_merged(sections.get("shared", {}), sections.get(command, {}))}


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged


def _last(cls: type[Any], layers: Sequence[Layer], key: str) -> Any:
    found = None
    for source, values in layers:
        found = flatten(cls, values, source=source).get(key, found)
    return found
