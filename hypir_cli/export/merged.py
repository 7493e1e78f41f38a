"""A base folder with the LoRA in its weights: for programs that know diffusers' layout and no adapters."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from hypir_cli.config.export import ExportConfig
from hypir_cli.config.families import find_family
from hypir_cli.errors import CheckpointError
from hypir_cli.export.formats import Export, families_with
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.checkpoint import FOLDER_INFO, grant_usual_mode, info_to_json
from hypir_cli.models.device import DTYPES
from hypir_cli.models.hub import find_base
from hypir_cli.models.lora import merge_lora

_STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def write_merged(export: Export, out: Path, *, config: ExportConfig) -> Path:
    """Copy a base folder and write its denoiser with the update added, summed in float32.

    Returns:
        The folder, complete: it appears under its name when everything is written.

    Raises:
        CheckpointError: The backbone has no such layout, the LoRA does not fit, or the folder cannot be written.
        BackboneError: The base cannot be found.
    """
    family = find_family(export.info.backbone)
    component = family.denoiser
    if not component:
        known = ", ".join(families_with("denoiser"))
        raise CheckpointError(
            f"{export.info.backbone} cannot be exported as a merged folder.",
            hint=f"merged works for {known}; use --format peft",
        )
    base = config.base or export.info.base or None
    preset = family.preset
    root = find_base(base, name=export.info.backbone, preset=preset, revision=config.revision)
    backbone = load_backbone(export.info.backbone, base=str(root), dtype=torch.float32)
    merge_lora(backbone.denoiser, export.state)
    denoiser: Any = backbone.denoiser
    dtype = DTYPES[config.dtype] if config.dtype else _stored_dtype(root / component)
    partial = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        _copy_parts(
            root, partial, parts=[*preset.components, *preset.optional_components], but=component
        )
        denoiser.to(dtype).save_pretrained(partial / component)
        for path in (partial / component).glob("*.safetensors"):
            grant_usual_mode(path)
        info = replace(
            export.info, kind="backbone", base=base or "", texture=False, generativity=False
        )
        (partial / FOLDER_INFO).write_text(info_to_json(info) + "\n", encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        partial.replace(out)
    except OSError as error:
        raise CheckpointError(
            f"cannot write {out}: {error}.", hint="free some space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _copy_parts(root: Path, target: Path, *, parts: Sequence[str], but: str) -> None:
    """Copy the folders that a backbone uses, and the pipeline's index; repositories hold much else."""
    target.mkdir(parents=True)
    if (root / "model_index.json").is_file():
        shutil.copy(root / "model_index.json", target)
    for part in parts:
        if part != but and (root / part).is_dir():
            shutil.copytree(root / part, target / part)


def _stored_dtype(folder: Path) -> torch.dtype:
    """Number format of the weights in a component's folder; float32 where it cannot be told."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                return _STORED.get(file.get_slice(name).get_dtype(), torch.float32)
    return torch.float32
