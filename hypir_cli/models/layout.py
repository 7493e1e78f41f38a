"""Folders in diffusers layout: one subfolder per component, each with a configuration and weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypir_cli.errors import BackboneError

WEIGHTLESS = ("tokenizer", "tokenizer_2", "tokenizer_3", "scheduler", "feature_extractor")
"""Components that are configuration only."""


@dataclass(frozen=True, kw_only=True)
class WeightFiles:
    """Which of the weight files of a component to load."""

    variant: str | None
    """Variant in the file name, e.g. `fp16`; None for the plain one."""
    safetensors: bool
    """Whether they are safetensors rather than pickles."""


_PREFERENCES = (
    WeightFiles(variant=None, safetensors=True),
    WeightFiles(variant="fp16", safetensors=True),
    WeightFiles(variant=None, safetensors=False),
    WeightFiles(variant="fp16", safetensors=False),
)
_STEMS = ("diffusion_pytorch_model", "model", "pytorch_model")


def find_weights(folder: Path) -> WeightFiles | None:
    """Which weights a component's folder has: plain before fp16, safetensors before pickles; None for none."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for choice in _PREFERENCES:
        if any(names.intersection(_file_names(stem, choice)) for stem in _STEMS):
            return choice
    return None


def component_weights(root: Path, component: str) -> WeightFiles:
    """Which weights of a component to load.

    Raises:
        BackboneError: It has none.
    """
    found = find_weights(root / component)
    if found is None:
        raise BackboneError(
            f"{root / component} holds no weights.",
            hint="it needs a *.safetensors file in diffusers layout; run hypir fetch, or copy the folder again",
        )
    return found


def missing_parts(root: Path, components: Sequence[str]) -> list[str]:
    """What a folder lacks to be a backbone's base, as relative paths; empty when it is complete."""
    missing = []
    for component in components:
        folder = root / component
        if not folder.is_dir():
            missing.append(f"{component}/")
        elif component not in WEIGHTLESS and not (folder / "config.json").is_file():
            missing.append(f"{component}/config.json")
        elif component not in WEIGHTLESS and not _is_whole(folder):
            missing.append(f"{component}/*.safetensors")
    return missing


def _is_whole(folder: Path) -> bool:
    """Whether weights are there, with every shard that their names promise."""
    if find_weights(folder) is None:
        return False
    indexed = list(folder.glob("*.index*.json"))
    shards = list(folder.glob("*-of-*"))
    promised = {int(path.stem.split(".")[0].rsplit("-of-", 1)[1]) for path in shards}
    return not indexed or not promised or len(shards) >= min(promised)


def _file_names(stem: str, choice: WeightFiles) -> set[str]:
    extension = "safetensors" if choice.safetensors else "bin"
    middle = f".{choice.variant}" if choice.variant else ""
    # diffusers puts a variant between `index` and `json`'s ends in either order, depending on its age.
    return {
        f"{stem}{middle}.{extension}",
        f"{stem}.{extension}.index{middle}.json",
        f"{stem}{middle}.{extension}.index.json",
    }
