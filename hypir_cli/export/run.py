"""Export one LoRA: find it, fold its alpha, reduce its rank, cast it, write it in another program's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hypir_cli.config.export import ExportConfig
from hypir_cli.errors import CheckpointError, ConfigError
from hypir_cli.export.formats import (
    Export,
    families_with,
    write_diffusers,
    write_kohya,
    write_peft,
    write_reference,
)
from hypir_cli.export.merged import write_merged
from hypir_cli.export.reduce import Reduction, reduce_rank
from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.models.device import DTYPES
from hypir_cli.models.lora import CONTROL_PREFIX, PREDICTOR_PREFIX, LoraState, read_lora
from hypir_cli.models.lora.keys import FLAT_PREFIXES
from hypir_cli.models.lora.state import DOWN_SUFFIX, UP_SUFFIX
from hypir_cli.models.run_weights import find_trained_weights

_WRITERS: Mapping[str, Callable[[Export, Path], Path]] = {
    "peft": write_peft,
    "diffusers": write_diffusers,
    "kohya": write_kohya,
    "reference": write_reference,
}


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was written."""

    source: Path
    """Weights file that was read."""
    path: Path
    """File written, or the folder of a merged base."""
    info: CheckpointInfo
    """Header written."""
    num_layers: int
    """Layers that carry an adapter."""
    reductions: tuple[Reduction, ...] = ()
    """What rank reduction cost, by layer; empty without one."""
    warnings: tuple[str, ...] = ()
    """What the format cannot carry."""


def export_lora(checkpoint: Path, out: Path, *, config: ExportConfig) -> ExportResult:
    """Write a trained LoRA in another format.

    Args:
        checkpoint: LoRA file, checkpoint folder or training run.
        out: File or folder to write.
        config: Format, dtype, rank.

    Raises:
        CheckpointError: No LoRA there, or one that the format has no names for.
        ConfigError: The output exists, or the backbone is unknown.
        BackboneError: The base weights for `merged` cannot be had.
    """
    source = find_trained_weights(checkpoint, weights=config.weights)
    _check_out(out, overwrite=config.overwrite)
    state = read_lora(source)
    backbone = _backbone_of(state, config)
    folded = _folded(state)
    reductions: tuple[Reduction, ...] = ()
    if config.rank is not None:
        folded, reductions = _reduced(folded, rank=config.rank)
    export = _export(folded, backbone=backbone, dtype=DTYPES.get(config.dtype or ""))
    warnings = _losses(export, config)
    if config.format == "merged":
        path = write_merged(export, out, config=config)
    else:
        path = _WRITERS[config.format](_carried(export, config), out)
    return ExportResult(
        source=source,
        path=path,
        info=export.info,
        num_layers=len(folded.modules),
        reductions=reductions,
        warnings=warnings,
    )


def _check_out(out: Path, *, overwrite: bool) -> None:
    taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if taken and not overwrite:
        raise ConfigError(f"{out} exists.", hint="choose another path, or --overwrite")


def _backbone_of(state: LoraState, config: ExportConfig) -> str:
    flat = [module for module in state.modules if module.startswith(FLAT_PREFIXES)]
    if flat:
        raise CheckpointError(
            f"{state.source} goes by kohya's names ({flat[0]}), which cannot be translated without the model.",
            hint="export from the file that training wrote",
        )
    named = state.info.backbone
    if named and config.backbone and named != config.backbone:
        raise ConfigError(f"{state.source} is for {named}, not for {config.backbone}.")
    # Only the release names adapters in its keys and has no header of ours.
    release = families_with("release_format")[0] if state.complete else ""
    backbone = named or config.backbone or release
    if not backbone:
        raise ConfigError(
            f"{state.source} does not say which backbone it is for.", hint="give --backbone NAME"
        )
    return backbone


def _folded(state: LoraState) -> LoraState:
    """The same adapters with alpha equal to rank; the factor goes into the up half."""
    tensors: dict[str, Tensor] = {}
    for module in state.modules:
        down, up = state.pair(module)
        factor = state.factor(module)
        tensors[module + DOWN_SUFFIX] = down
        tensors[module + UP_SUFFIX] = up if factor == 1.0 else (up.float() * factor).to(up.dtype)
    return _with_tensors(state, tensors)


def _reduced(state: LoraState, *, rank: int) -> tuple[LoraState, tuple[Reduction, ...]]:
    tensors: dict[str, Tensor] = {}
    reductions = []
    for module in state.modules:
        down, up = state.pair(module)
        smaller_down, smaller_up, report = reduce_rank(down, up, rank=rank, module=module)
        tensors[module + DOWN_SUFFIX] = smaller_down.to(down.dtype)
        tensors[module + UP_SUFFIX] = smaller_up.to(up.dtype)
        reductions.append(report)
    return _with_tensors(state, tensors), tuple(reductions)


def _with_tensors(state: LoraState, tensors: Mapping[str, Tensor]) -> LoraState:
    ranks = {module: tensors[module + DOWN_SUFFIX].shape[0] for module in state.modules}
    return replace(state, tensors=tensors, alphas={name: float(r) for name, r in ranks.items()})


def _export(state: LoraState, *, backbone: str, dtype: torch.dtype | None) -> Export:
    ranks = set(state.ranks.values())
    rank = ranks.pop() if len(ranks) == 1 else None
    info = replace(
        state.info,
        kind="lora",
        backbone=backbone,
        lora_rank=rank,
        lora_alpha=None if rank is None else float(rank),
        key_format="hypir",
    )
    tensors = {key: value.to(dtype or value.dtype) for key, value in state.tensors.items()}
    extras = {f"{CONTROL_PREFIX}{key}": value for key, value in state.controls.items()}
    extras |= {f"{PREDICTOR_PREFIX}{key}": value for key, value in state.predictor.items()}
    return Export(state=replace(state, tensors=tensors, info=info), info=info, extras=extras)


def _carried(export: Export, config: ExportConfig) -> Export:
    """What the format can hold of an export; its header says no more than that."""
    if config.format == "peft":
        return export
    return replace(export, extras={}, info=replace(export.info, texture=False, generativity=False))


def _losses(export: Export, config: ExportConfig) -> tuple[str, ...]:
    if config.format == "peft" or not export.extras:
        return ()
    return (
        f"{config.format} has no place for the texture and generativity conditioning: it is left out, "
        "and --texture will not act.",
    )
