"""Values of each backbone that its makers may move or users may swap: hub ids, timesteps, LoRA targets, licences."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from hypir_cli.config.schema import load_yaml, resolve
from hypir_cli.errors import ConfigError

PRESET_DIR = Path(__file__).parent.parent / "presets" / "backbones"


@dataclass(frozen=True, kw_only=True)
class BackbonePreset:
    """Where a backbone's weights are and how they are used."""

    base: str = ""
    """Hub id of the base weights; empty when they ship inside the package."""
    revision: str | None = None
    """Revision of `base`; unset takes its main branch. Fallbacks always take theirs."""
    fallbacks: tuple[str, ...] = ()
    """Hub ids with the same weights, tried in order when `base` is gone."""
    components: tuple[str, ...] = ()
    """Subfolders of the base that are needed."""
    optional_components: tuple[str, ...] = ()
    """Subfolders that are used where they exist."""
    lora_repo: str = ""
    """Hub id of the public restoration LoRA; empty when there is none."""
    lora_file: str = ""
    """File of the LoRA in its repository."""
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
        for name in ("timestep", "coeff_timestep"):
            if not 0 <= getattr(self, name) <= 999:
                raise ValueError(f"{name} must be in 0..999, got {getattr(self, name)}")
        if bool(self.lora_repo) != bool(self.lora_file):
            raise ValueError("lora_repo and lora_file belong together")

    @property
    def candidates(self) -> tuple[tuple[str, str | None], ...]:
        """Hub id and revision of every source of the base weights, best first."""
        others: tuple[tuple[str, str | None], ...] = tuple((repo, None) for repo in self.fallbacks)
        return ((self.base, self.revision), *others) if self.base else others


def backbone_preset(name: str) -> BackbonePreset:
    """The preset of a backbone.

    Raises:
        ConfigError: There is none of that name.
    """
    path = PRESET_DIR / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in PRESET_DIR.glob("*.yaml"))
        near = difflib.get_close_matches(name, known, n=1)
        raise ConfigError(
            f"there is no backbone {name!r}.",
            hint=f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}",
        )
    return resolve(BackbonePreset, layers=[(f"preset {name}", load_yaml(path))])
