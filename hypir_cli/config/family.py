"""The record of facts that a backbone brings; everything that differs between backbones is read from it.

A backbone is a folder with its record, its code and its training preset. The record is plain data: it loads no torch, so that
settings and help can read it. `families` finds records by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hypir_cli.config.timesteps import check_timestep


@dataclass(frozen=True, kw_only=True)
class BackbonePreset:
    """Where a backbone's weights are and how they are used."""

    base: str = ""
    """Hub id of the base weights; empty when they ship inside a package."""
    revision: str | None = None
    """Revision of `base`; unset takes its main branch. Fallbacks always take theirs."""
    fallbacks: tuple[str, ...] = ()
    """Hub ids with the same weights, tried in order when `base` is gone."""
    components: tuple[str, ...] = ()
    """Subfolders of the base that are needed."""
    optional_components: tuple[str, ...] = ()
    """Subfolders that are used where all of them exist."""
    lora_repo: str = ""
    """Hub id of the public restoration LoRA; empty when there is none."""
    lora_file: str = ""
    """File of the LoRA in its repository."""
    small_vae: str = ""
    """Hub id of a small VAE with the same latents; empty when there is none."""
    timestep: int = 200
    """Timestep that goes into the denoiser, 0..999."""
    coeff_timestep: int = 200
    """Timestep of the clean-latent formula, 0..999."""
    lora_targets: tuple[str, ...] = ()
    """Module name endings that get adapters."""
    guidance: float = 1.0
    """Guidance strength told to a guidance-distilled denoiser; others have no such input."""
    native_tile: int | None = None
    """Tile side in image pixels; unset takes the size that the model's own configuration gives."""
    licence: str = ""
    """What the licences allow, shown to the user."""
    gated: bool = False
    """Whether the hub asks to accept a licence before the download."""

    def __post_init__(self) -> None:
        check_timestep("timestep", self.timestep)
        check_timestep("coeff_timestep", self.coeff_timestep)
        if bool(self.lora_repo) != bool(self.lora_file):
            raise ValueError("lora_repo and lora_file belong together")

    @property
    def candidates(self) -> tuple[tuple[str, str | None], ...]:
        """Hub id and revision of every source of the base weights, best first."""
        others: tuple[tuple[str, str | None], ...] = tuple((repo, None) for repo in self.fallbacks)
        return ((self.base, self.revision), *others) if self.base else others


@dataclass(frozen=True, kw_only=True)
class ParameterCounts:
    """Weights of a backbone's networks, for the base that its preset names; a benchmark counts them again."""

    denoiser: int
    """All of the denoiser's."""
    quantizable: int
    """Those in linear layers of its blocks, which `--quantize` stores in fewer bits."""
    vae: tuple[int, int]
    """Encoder and decoder together, of the base's own VAE and of the small one with the same latents."""
    text_encoders: int
    """All text encoders together."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """All facts about one backbone."""

    name: str
    """Name in `--backbone`, in file headers and in training presets."""
    backbone: str
    """Class behind the contract of `models.backbones.base`, as `module:Class`; imported when it is loaded."""
    preset: BackbonePreset = field(default_factory=BackbonePreset)
    """Weights, timesteps, LoRA targets, licences."""
    train_preset: Path | None = None
    """YAML of training settings with the sections `shared`, `encoder` and `gan`; None where there are none."""
    parameters: ParameterCounts | None = None
    """What the memory table is made from; None for a model that fits anywhere."""
    kohya: str = ""
    """Function from the denoiser's module paths to kohya's names (see `models.lora.kohya`), as `module:function`; empty for none."""
    release_format: bool = False
    """Whether the HYPIR release's own `.pth` is a LoRA of this backbone."""

    @property
    def denoiser(self) -> str:
        """Subfolder of the denoiser in diffusers layout, which is also its name in a stock pipeline; empty for a model without one."""
        known = (part for part in self.preset.components if part in ("unet", "transformer"))
        return next(known, "")

    @property
    def embedded(self) -> bool:
        """Whether its weights ship inside a package, restoration and all."""
        return not self.preset.candidates
