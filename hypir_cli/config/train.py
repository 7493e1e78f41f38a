"""Settings of `hypir train-encoder` and `hypir train-gan`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from hypir_cli.config.adversarial import (
    SPECTRUM_WINDOW,
    TEACHER_SIDE,
    ControlsConfig,
    DiscriminatorConfig,
    LoraConfig,
    LossConfig,
    PixelKind,
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
from hypir_cli.config.schema import Layer, flatten, load_yaml, resolve, to_dict, to_yaml
from hypir_cli.config.timesteps import check_timestep
from hypir_cli.errors import ConfigError

Command = Literal["encoder", "gan"]
T = TypeVar("T")
_NOT_JUDGED = ("preset", "output_dir", "degradation_mix")
"""Keys of a preset that say nothing of how is trained, or take something away."""
_ALWAYS_ACTIVE = ("preset", "degradation_preset", "data.sources", "validation.sources")
"""Keys that a printed settings file sets."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model is trained."""

    backbone: str = "tiny"
    """Diffusion model: tiny (embedded, no download) or another that `hypir info` lists."""
    base: str | None = None
    """Base weights: a diffusers-layout folder or a hub id; unset takes the backbone's own."""
    revision: str | None = None
    """Hub revision (branch, tag or commit) of the base weights."""
    vae: str = "default"
    """VAE: default (the base's own), small (one with a fraction of the arithmetic), or a diffusers folder or hub id."""
    encoder: Path | None = None
    """Fine-tuned VAE encoder to start from (the output of train-encoder)."""
    timestep: int | None = None
    """Timestep into the denoiser, 0 to 999; unset takes the backbone's."""
    coeff_timestep: int | None = None
    """Timestep of the clean-latent formula, 0 to 999; unset takes the backbone's."""
    posterior: Literal["mean", "sample"] = "mean"
    """Mean of the VAE posterior of the degraded image, or a sample of it as the release trains."""

    def __post_init__(self) -> None:
        check_timestep("model.timestep", self.timestep)
        check_timestep("model.coeff_timestep", self.coeff_timestep)


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
    """Degradation to start from: realesrgan, light, photo-print, gentle, phone or scan. Naming one clears the mixture of presets
    and layers before it."""
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    """How degraded partners are made; beside degradation_mix, one of the ways that are drawn."""
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
    pixel_kind: PixelKind = "mse"
    """How the images differ: mean squared (mse) or absolute (l1) error on the scale -1..1, or each image's logarithm of either,
    which counts decibels."""


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
        if self.lora.is_full and self.optim.shard_frozen:
            raise ValueError("optim.shard_frozen has nothing to deal out with lora.rank full")
        self._check_judge()
        if self.loss.texture > 0 and not self.controls.texture:
            raise ValueError("loss.texture needs controls.texture: true")
        if self.teacher.name != "none" and self.data.degraded:
            raise ValueError(
                "teacher.name needs partners that are made, so data.degraded must be empty"
            )
        side = self.data.crop_size
        if self.loss.perceptual_shift > side // 2:
            raise ValueError(
                f"loss.perceptual_shift must be at most half of data.crop_size {side},"
                f" got {self.loss.perceptual_shift}"
            )
        if self.loss.spectrum and side < SPECTRUM_WINDOW:
            raise ValueError(
                f"loss.spectrum needs data.crop_size from {SPECTRUM_WINDOW} up, got {side}"
            )
        if self.teacher.name != "none" and (side < TEACHER_SIDE or side % 4):
            raise ValueError(
                f"teacher.name needs data.crop_size to be a multiple of 4 from {TEACHER_SIDE} up, got {side}"
            )

    def _check_judge(self) -> None:
        if self.discriminator.alone_steps and not self.loss.adversarial:
            raise ValueError("discriminator.alone_steps needs loss.adversarial above 0")
        judge = self.discriminator
        judges_images = judge.patch_width or judge.pixel_width
        judges_both = self.loss.adversarial and judges_images and judge.trunk != "none"
        if self.loss.adversarial_images is not None and not judges_both:
            raise ValueError(
                "loss.adversarial_images needs loss.adversarial above 0, a discriminator.trunk, and patch_width or pixel_width"
                " beside it"
            )
        if self.loss.adversarial_images_samples == "taught":
            compared = judge.loss == "relativistic" and judge.real == "target"
            if not (judges_images and compared and not judge.vae_round_trip):
                raise ValueError(
                    "loss.adversarial_images_samples taught needs discriminator.patch_width or pixel_width, loss relativistic,"
                    " real target and vae_round_trip false"
                )


def train_layers(cls: type[T], layers: Sequence[Layer], *, command: Command) -> list[Layer]:
    """The given layers, each preceded by the presets that it names: a preset beats earlier layers, its own layer beats it.

    Args:
        cls: `TrainEncoderConfig` or `TrainGanConfig`.
        layers: Settings file, `--set`, flags; later ones win.
        command: Section of the preset file that applies.

    Raises:
        ConfigError: An unknown key or preset, or a preset of which nothing is left since its own layer sets all it says.
    """
    with_presets = _insert_preset(
        cls, layers, key="preset", section=lambda name: preset_section(name, command)
    )
    found = _insert_preset(
        cls,
        with_presets,
        key="degradation_preset",
        section=lambda name: {"degradation": preset_values(name), "degradation_mix": []},
    )
    if len(found) == len(with_presets):
        values = {"degradation": preset_values(DEGRADATION_PRESETS[0])}
        found.insert(0, (f"degradation preset {DEGRADATION_PRESETS[0]}", values))
    return found


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


def _insert_preset(
    cls: type[Any],
    layers: Sequence[Layer],
    *,
    key: str,
    section: Callable[[str], dict[str, Any]],
) -> list[Layer]:
    """The layers, with the preset that is named last right before the layer that names it."""
    found = list(layers)
    for place in reversed(range(len(found))):
        source, values = found[place]
        own = flatten(cls, values, source=source)
        name = own.get(key)
        if name == "":
            return found
        if name is not None:
            preset = (f"{key.replace('_', ' ')} {name}", section(str(name)))
            _check_effect(cls, preset, own, source=source)
            found.insert(place, preset)
            return found
    return found


def _check_effect(cls: type[Any], preset: Layer, own: Mapping[str, Any], *, source: str) -> None:
    """Refuse a preset beside values for all that it sets, as when its name is changed in a resolved file."""
    name, values = preset
    said = flatten(cls, values, source=name)
    said = {key: value for key, value in said.items() if key not in _NOT_JUDGED}
    if said and said.keys() <= own.keys() and any(own[key] != said[key] for key in said):
        raise ConfigError(
            f"{source} names the {name}, but sets all of its values itself, and some otherwise: "
            "the preset changes nothing.",
            hint="remove those values, or name the preset in a later layer, e.g. with --set",
        )


def template_yaml(cls: type[T], preset: str, *, command: Command) -> str:
    """A settings file of a preset to edit: every setting with its sentence and its value, active only what names presets and data.

    Values are comments, so that another preset named in the file or on top of it acts.

    Raises:
        ConfigError: There is no such preset.
    """
    config = train_config(cls, [("template", {"preset": preset})], command=command)
    values = to_dict(config)
    keys = flatten(cls, values, source="template").keys()
    inactive = keys - set(_ALWAYS_ACTIVE)
    if values["degradation_mix"]:
        # Named, a degradation preset would stand alone.
        inactive |= {"degradation_preset"}
    text = to_yaml(config, comments=True, inactive=inactive)
    return f"# Lines with #= show values as they are; to change one, remove the mark.\n{text}"


def resolved_yaml(config: RunConfig) -> str:
    """Text for the run's folder: every value as it is, and where it came from as a comment.

    No preset is named as a setting, since the values need not be the preset's any more.
    """
    origin = ", ".join(
        f"{kind} {name}"
        for kind, name in (
            ("preset", config.preset),
            ("degradation preset", config.degradation_preset),
        )
        if name
    )
    plain = to_yaml(replace(config, preset="", degradation_preset=""))
    return f"# Resolved settings of a run that started from: {origin or 'no preset'}.\n{plain}"
