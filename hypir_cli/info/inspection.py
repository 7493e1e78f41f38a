"""What `hypir info` tells: this machine, the backbones and their weights, or what a file is."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import psutil
import torch

from hypir_cli import __version__
from hypir_cli.config.families import find_family
from hypir_cli.errors import CheckpointError
from hypir_cli.models.checkpoint import (
    SUFFIX,
    load_tensors,
    read_folder_info,
    read_info,
    tensor_sizes,
)
from hypir_cli.models.device import free_memory
from hypir_cli.models.hub import cached_base, cached_lora
from hypir_cli.models.lora import LoraState, read_lora
from hypir_cli.models.run_weights import find_trained_weights

PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "pillow")
"""Packages whose versions matter for results."""


@dataclass(frozen=True, kw_only=True)
class BackboneStatus:
    """One backbone on this machine."""

    name: str
    """Registry name."""
    base: str
    """Hub id of its base weights, or how they come."""
    base_path: str
    """Where the base weights are; empty when not there."""
    lora: str
    """Hub file of its public restoration LoRA; empty when there is none."""
    lora_path: str
    """Where the LoRA is; empty when not there."""
    licence: str
    """What its licences allow."""


def system_facts() -> dict[str, str]:
    """Versions, devices and memory, for people."""
    memory = psutil.virtual_memory()
    facts = {
        "hypir": __version__,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
        "cpu": f"{psutil.cpu_count()} cores, {torch.get_num_threads()} threads",
        "memory": f"{memory.total / 2**30:.1f} GB, "
        f"{free_memory(torch.device('cpu')) / 2**30:.1f} GB free",
    }
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        facts[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.1f} GB"
    if torch.backends.mps.is_available():
        facts["mps"] = "available"
    return facts


def backbone_status(name: str) -> BackboneStatus:
    """A backbone and where its weights are; asks no network.

    Raises:
        ConfigError: There is none of that name.
    """
    family = find_family(name)
    preset, embedded = family.preset, family.embedded
    base, lora = cached_base(preset), cached_lora(preset)
    return BackboneStatus(
        name=name,
        base="inside the package" if embedded else preset.base,
        base_path="inside the package" if embedded else str(base or ""),
        lora=f"{preset.lora_repo}:{preset.lora_file}" if preset.lora_repo else "",
        lora_path=str(lora or ""),
        licence=" ".join(preset.licence.split()),
    )


def file_facts(path: Path) -> dict[str, str]:
    """What a weights file is, for people.

    Raises:
        CheckpointError: It cannot be read or is none.
    """
    info = read_info(path)
    if info is not None and info.kind != "lora":
        tensors, _ = load_tensors(path)
        return {**_plain(asdict(info)), **_sizes({k: v.numel() for k, v in tensors.items()})}
    try:
        return _lora_facts(read_lora(path), ours=info is not None)
    except CheckpointError as error:
        tensors, _ = load_tensors(path)
        return {
            "kind": "weights without adapters",
            "note": error.message,
            **_sizes({key: value.numel() for key, value in tensors.items()}),
        }


def folder_facts(folder: Path) -> dict[str, str]:
    """What a folder of weights is, for people: a base in diffusers' layout, merged or not, or one that holds a LoRA.

    Raises:
        CheckpointError: It is none of these, or damaged.
    """
    info = read_folder_info(folder)
    if info is None and not (folder / "model_index.json").is_file():
        weights = _weights_in(folder)
        return {"weights": str(weights.relative_to(folder)), **file_facts(weights)}
    facts = {"kind": "base weights"}
    if info is not None:
        # Rank and targets are those of the adapters that are in the weights now.
        facts = {**_plain(asdict(info)), "kind": "base weights with a LoRA merged into them"}
    return {**facts, **_component_facts(folder)}


def _weights_in(folder: Path) -> Path:
    """The LoRA that a folder holds.

    Raises:
        CheckpointError: It holds none.
    """
    try:
        return find_trained_weights(folder)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder} is neither the folder of a training run nor one of weights.",
            hint="give a run's output_dir, a base in diffusers' layout, or what export-lora wrote",
        ) from error


def _component_facts(folder: Path) -> dict[str, str]:
    """Parameters and number format of every network in a folder of diffusers' layout."""
    facts = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        sizes: Counter[str] = Counter()
        for path in sorted(part.glob(f"*{SUFFIX}")):
            sizes += Counter(tensor_sizes(path))
        if sizes:
            facts[part.name] = ", ".join(f"{n:,} parameters, {dtype}" for dtype, n in sizes.items())
    return facts


def _lora_facts(state: LoraState, *, ours: bool) -> dict[str, str]:
    ranks = sorted(set(state.ranks.values()))
    header = asdict(state.info)
    if not ours:
        del header["hypir_version"], header["format_version"]
    facts = {
        **_plain(header),
        "lora_rank": ", ".join(map(str, ranks)),
        "adapters": str(len(state.modules)),
        "texture_predictor": "yes" if state.predictor else "no",
    }
    return {**facts, **_sizes({key: value.numel() for key, value in state.tensors.items()})}


def _plain(values: Mapping[str, object]) -> dict[str, str]:
    def shown(value: object) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, tuple):
            return ", ".join(map(str, value))
        return "unknown" if value in (None, "") else str(value)

    return {key: shown(value) for key, value in values.items()}


def _sizes(numels: Mapping[str, int]) -> dict[str, str]:
    return {"tensors": str(len(numels)), "parameters": f"{sum(numels.values()):,}"}
