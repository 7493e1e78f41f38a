"""Settings of a training run that do not say what is learned: schedule, optimiser, average, logs, checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from hypir_cli.config.checks import check_within


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """A stretch of training with fixed step size and batch."""

    steps: int = 10_000
    """Updates in this phase; 0 leaves it out."""
    lr: float = 1e-5
    """Step size of AdamW."""
    discriminator_lr: float | None = None
    """Step size for the discriminator; unset is the same."""
    accumulation: int = 1
    """Batches whose gradients are averaged into one update."""
    warmup_steps: int = 0
    """Updates over which the step size rises from 0."""
    decay: Literal["none", "cosine"] = "none"
    """`cosine` lets the step sizes fall to a hundredth over the phase."""

    def __post_init__(self) -> None:
        if self.steps < 0 or self.warmup_steps < 0:
            raise ValueError("steps and warmup_steps must be at least 0")
        check_within(self, "", ("accumulation",), least=1)
        if self.lr < 0 or (self.discriminator_lr or 0.0) < 0:
            raise ValueError("lr and discriminator_lr must be at least 0")


@dataclass(frozen=True, kw_only=True)
class SecondPhaseConfig(PhaseConfig):
    """The second stretch: the release halves the step size and accumulates four batches."""

    steps: int = 0
    """Updates in this phase; 0 leaves it out."""
    lr: float = 5e-6
    """Step size of AdamW."""
    accumulation: int = 4
    """Batches whose gradients are averaged into one update."""


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The phases, one after the other."""

    first: PhaseConfig = field(default_factory=PhaseConfig)
    """First phase."""
    second: SecondPhaseConfig = field(default_factory=SecondPhaseConfig)
    """Second phase."""

    def __post_init__(self) -> None:
        if self.total_steps < 1:
            raise ValueError("schedule: the phases together must have at least 1 step")

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        return self.first.steps + self.second.steps

    def at(self, step: int) -> PhaseConfig:
        """The phase of update number `step`, counted from 0."""
        return self.first if step < self.first.steps else self.second

    def rates(self, step: int) -> tuple[float, float]:
        """Step sizes of the model and of the discriminator at update number `step`, counted from 0."""
        phase = self.at(step)
        place = step if phase is self.first else step - self.first.steps
        ramp = min(1.0, (place + 1) / phase.warmup_steps) if phase.warmup_steps else 1.0
        if phase.decay == "cosine":
            ramp *= 0.505 + 0.495 * math.cos(math.pi * place / phase.steps)
        other = phase.lr if phase.discriminator_lr is None else phase.discriminator_lr
        return phase.lr * ramp, other * ramp


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How weights move."""

    batch_size: int = 4
    """Samples per process and batch."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates."""
    eps: float = 1e-8
    """AdamW's guard against division by zero."""
    weight_decay: float = 0.01
    """AdamW's weight decay."""
    grad_clip: float = 1.0
    """Largest norm of a gradient; longer ones are shortened to it."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the networks' arithmetic; trained weights are always kept in fp32."""
    gradient_checkpointing: bool = False
    """Recompute activations of the denoiser and the VAE in the backward pass: less memory, more time."""
    shard_frozen: bool = False
    """Deal the denoiser's frozen weights out to the processes (FSDP), so that each holds a part; train-gan only."""
    max_skipped_steps: int = 20
    """Stop after this many updates in a row with a gradient that is not a finite number."""

    def __post_init__(self) -> None:
        check_within(self, "optim", ("batch_size",), least=1)
        if self.grad_clip <= 0:
            raise ValueError(f"optim.grad_clip must be above 0, got {self.grad_clip}")


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """The averaged weights that restoring uses."""

    decay: float = 0.999
    """Share of the old average that stays at each update, 0..1."""
    warmup: bool = True
    """Average fewer updates at the start, so that the untrained weights are forgotten; the release does not."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"ema.decay must be at least 0 and below 1, got {self.decay}")


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """What a run tells about itself."""

    every: int = 10
    """Updates between two lines of metrics."""
    samples_every: int = 500
    """Updates between two sample grids; 0 makes none."""
    num_samples: int = 4
    """Rows of a sample grid."""
    tensorboard: bool = True
    """Also write TensorBoard files."""
    wandb: str = ""
    """Project at Weights & Biases to report to as well (pip install wandb); empty for none."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.num_samples < 1 or self.samples_every < 0:
            raise ValueError("logging: every and num_samples must be at least 1, samples_every 0")


@dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Photographs the model never trains on."""

    sources: tuple[str, ...] = ()
    """Clean photographs, given as in data.sources; empty means no validation. They are degraded, the same way each time."""
    degraded: tuple[str, ...] = ()
    """Folders with their degraded partners, as data.degraded; empty means they are made."""
    every: int = 500
    """Updates between two validations."""
    num_images: int = 16
    """Images scored, from the first one on; a centre crop of each."""
    perceptual_kind: Literal["lpips-vgg", "stlpips", "vgg16-hed", "efficientnet-lite0", "none"] = (
        "stlpips"
    )
    """Perceptual distance that is reported."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.num_images < 1:
            raise ValueError("validation: every and num_images must be at least 1")
        if self.degraded and len(self.degraded) != len(self.sources):
            raise ValueError(
                f"validation.degraded names {len(self.degraded)} folders, "
                f"validation.sources {len(self.sources)}"
            )


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What is kept of a run."""

    every: int = 500
    """Updates between two checkpoints; one more is written at the end."""
    keep_last: int = 3
    """Newest checkpoints that stay."""
    keep_best: Literal["none", "perceptual", "psnr", "ssim"] = "none"
    """Also keep the checkpoint with the best validation score of this kind."""

    def __post_init__(self) -> None:
        if self.every < 1 or self.keep_last < 1:
            raise ValueError("checkpoint: every and keep_last must be at least 1")
