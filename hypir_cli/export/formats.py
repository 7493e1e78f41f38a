"""The file formats of other programs: how each names and stores the same adapters.

Every adapter that arrives here has alpha equal to its rank, so that formats without a place for alpha lose nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from hypir_cli.config.families import family_names, find_family
from hypir_cli.errors import CheckpointError
from hypir_cli.images import atomic_file
from hypir_cli.models.checkpoint import CheckpointInfo, save_tensors
from hypir_cli.models.lora import LoraState
from hypir_cli.models.lora.kohya import FLAT_PREFIX, fuse, kohya_names

PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, kw_only=True)
class Export:
    """Adapters ready to be written."""

    state: LoraState
    """Adapters with alpha equal to rank."""
    info: CheckpointInfo
    """Header, with the name of the backbone."""
    extras: Mapping[str, Tensor]
    """Tensors trained along (controls, texture predictor), under the names of our own files."""


def families_with(fact: Literal["denoiser", "kohya", "release_format"]) -> tuple[str, ...]:
    """Names of the backbones whose record has a fact that a format needs."""
    return tuple(name for name in family_names() if getattr(find_family(name), fact))


def write_peft(export: Export, out: Path) -> Path:
    """One `.safetensors` in our own names, or a PEFT adapter folder where `out` has no such ending.

    Returns:
        The file with the tensors.
    """
    if out.suffix == ".safetensors":
        save_tensors(out, {**export.state.tensors, **export.extras}, info=export.info)
        return out
    file = out / "adapter_model.safetensors"
    named = {f"{PEFT_PREFIX}{key}": value for key, value in export.state.tensors.items()}
    save_tensors(file, {**named, **export.extras}, info=replace(export.info, key_format="peft"))
    with atomic_file(out / "adapter_config.json") as config:
        config.write(json.dumps(_peft_config(export), indent=2).encode())
    return file


def write_diffusers(export: Export, out: Path) -> Path:
    """A file that a stock pipeline's `load_lora_weights` takes."""
    pipeline_name = find_family(export.info.backbone).denoiser
    if not pipeline_name:
        raise _unsupported("diffusers", export.info.backbone, families_with("denoiser"))
    named = {f"{pipeline_name}.{key}": value for key, value in export.state.tensors.items()}
    file = _as_safetensors(out)
    save_tensors(file, named, info=replace(export.info, key_format="diffusers"))
    return file


def write_kohya(export: Export, out: Path) -> Path:
    """A file for ComfyUI, A1111 and others that follow kohya's names."""
    family = find_family(export.info.backbone)
    if not family.kohya:
        raise _unsupported("kohya", export.info.backbone, families_with("kohya"))
    state = export.state
    names = kohya_names(state.modules, family=family)
    nameless = set(state.modules).difference(*names.values())
    if nameless:
        raise CheckpointError(
            f"kohya's convention has no name for {sorted(nameless)[0]} and {len(nameless) - 1} more "
            f"of this {export.info.backbone} LoRA.",
            hint="layers that are fused there need adapters on all their parts; use --format diffusers",
        )
    tensors: dict[str, Tensor] = {}
    for name, modules in names.items():
        down, up = fuse([state.pair(module) for module in modules])
        tensors[f"{FLAT_PREFIX}{name}.lora_down.weight"] = down
        tensors[f"{FLAT_PREFIX}{name}.lora_up.weight"] = up
        tensors[f"{FLAT_PREFIX}{name}.alpha"] = torch.tensor(float(down.shape[0]), dtype=down.dtype)
    file = _as_safetensors(out)
    save_tensors(file, tensors, info=replace(export.info, key_format="kohya"))
    return file


def write_reference(export: Export, out: Path) -> Path:
    """The release's `.pth`: a plain state dict with the adapter name `default` in its keys."""
    if not find_family(export.info.backbone).release_format:
        raise _unsupported("reference", export.info.backbone, families_with("release_format"))
    named = {
        key.removesuffix(".weight") + ".default.weight": value.clone()
        for key, value in export.state.tensors.items()
    }
    file = out if out.suffix in (".pth", ".pt") else out.with_name(f"{out.name}.pth")
    with atomic_file(file) as stream:
        torch.save(named, stream)
    return file


def _peft_config(export: Export) -> dict[str, object]:
    ranks = export.state.ranks
    common = max(ranks.values())
    others = {f"^{name}": rank for name, rank in ranks.items() if rank != common}
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": export.info.base or None,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": list(export.state.modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
    }


def _as_safetensors(out: Path) -> Path:
    return out if out.suffix == ".safetensors" else out / "pytorch_lora_weights.safetensors"


def _unsupported(form: str, backbone: str, known: tuple[str, ...]) -> CheckpointError:
    return CheckpointError(
        f"there is no {form} format for {backbone} LoRAs, only for {', '.join(known)}.",
        hint="--format peft works for every backbone",
    )
