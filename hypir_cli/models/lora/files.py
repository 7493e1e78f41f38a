"""LoRA files in and out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypir_cli.errors import CheckpointError
from hypir_cli.models.checkpoint import CheckpointInfo, load_tensors, read_header, save_tensors
from hypir_cli.models.lora.keys import ParsedKeys, endings, parse_keys
from hypir_cli.models.lora.state import CONTROL_PREFIX, DOWN_SUFFIX, UP_SUFFIX, LoraState

_DIFFUSERS_HEADER = "lora_adapter_metadata"
_TEXT_PREFIXES = (
    "lora_te_",
    "lora_te1_",
    "lora_te2_",
    "lora_te3_",
    "text_encoder.",
    "text_encoder_2.",
    "te1_",
    "te2_",
)
"""Beginnings of the names of text encoder adapters."""


def read_lora(path: Path) -> LoraState:
    """Adapters of a file in any known format; see `hypir_cli.models.lora.keys`.

    Rank and targets come from keys and shapes, alpha from the file (header, alpha tensors, PEFT's `adapter_config.json`
    beside it, diffusers' header) and is the rank where nothing says otherwise.

    Raises:
        CheckpointError: Unreadable, not a LoRA, or with tensors that are not understood.
    """
    raw, header = load_tensors(path)
    parsed = parse_keys(raw, literal=header is not None and header.key_format == "hypir")
    _check_halves(parsed, path=path, header=header)
    state = LoraState(
        tensors=parsed.halves,
        alphas={},
        controls=parsed.controls,
        predictor=parsed.predictor,
        info=header or CheckpointInfo(),
        source=str(path),
        complete=header is not None or parsed.named_adapter,
    )
    alphas = _alphas(state, parsed, path=path, header=header)
    return replace(state, alphas=alphas, info=_described(state, alphas))


def save_lora(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    info: CheckpointInfo,
    controls: Mapping[str, Tensor] | None = None,
    alphas: Mapping[str, float] | None = None,
) -> None:
    """Write adapters as one safetensors file.

    Args:
        path: Where to.
        tensors: `lora_state_dict(...)`, or averages under the same names.
        info: Header; `lora_alpha` in it holds for every module unless `alphas` is given.
        controls: State dict of the control embedding that was trained along.
        alphas: Alpha of each module, when they differ.

    Raises:
        CheckpointError: The file cannot be written.
    """
    content = dict(tensors)
    content.update({f"{CONTROL_PREFIX}{key}": value for key, value in (controls or {}).items()})
    for module, alpha in (alphas or {}).items():
        content[f"{module}.alpha"] = torch.tensor(float(alpha))
    save_tensors(path, content, info=replace(info, kind="lora"))


def _check_halves(parsed: ParsedKeys, *, path: Path, header: CheckpointInfo | None) -> None:
    if header is not None and header.kind != "lora":
        raise CheckpointError(
            f"{path} holds {header.kind} weights, not a LoRA.",
            hint="an encoder goes to --encoder; hypir info shows what a file is",
        )
    _check_supported(parsed, path=path)
    if not parsed.halves:
        raise CheckpointError(
            f"{path} holds no LoRA: none of its {len(parsed.others)} keys is one "
            f"({_some(parsed.others)}).",
            hint="give a LoRA file; hypir info shows what a file is",
        )
    down = {key.removesuffix(DOWN_SUFFIX) for key in parsed.halves if key.endswith(DOWN_SUFFIX)}
    up = {key.removesuffix(UP_SUFFIX) for key in parsed.halves if key.endswith(UP_SUFFIX)}
    missing = [name + UP_SUFFIX for name in down - up] + [name + DOWN_SUFFIX for name in up - down]
    if missing or parsed.others:
        raise CheckpointError(
            f"{path} is not a plain LoRA: missing {_some(missing)}; unexpected {_some(parsed.others)}.",
            hint="export it again; DoRA and LoHa are not supported",
        )


def _check_supported(parsed: ParsedKeys, *, path: Path) -> None:
    """Refuse adapters of what restoration does not adapt, and old names, each with its own way out."""
    text = [key for key in (*parsed.halves, *parsed.others) if key.startswith(_TEXT_PREFIXES)]
    if text:
        raise CheckpointError(
            f"{path} adapts the text encoder, too ({_some(text)}), which restoration does not.",
            hint="export it without text encoder adapters (in kohya's scripts: --network_train_unet_only)",
        )
    old = [key for key in parsed.others if ".processor." in key]
    if old:
        raise CheckpointError(
            f"{path} is in diffusers' old format of attention processors ({_some(old)}).",
            hint="load it with the diffusers version that wrote it and save it with save_lora_weights",
        )


def _alphas(
    state: LoraState, parsed: ParsedKeys, *, path: Path, header: CheckpointInfo | None
) -> dict[str, float]:
    told = header.lora_alpha if header else None
    config = {} if header else (_peft_config(path) or _diffusers_config(path))
    alphas: dict[str, float] = {}
    for module, rank in state.ranks.items():
        default = _config_alpha(config, module, rank=rank) if config else float(told or rank)
        alphas[module] = parsed.alphas.get(module, default)
    return alphas


def _config_alpha(config: Mapping[str, Any], module: str, *, rank: int) -> float:
    """Alpha that PEFT's settings give a module; rank-stabilised scaling is folded in."""
    alpha = float(config.get("lora_alpha") or rank)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _peft_config(path: Path) -> dict[str, Any]:
    beside = path.with_name("adapter_config.json")
    if not (path.stem == "adapter_model" and beside.is_file()):
        return {}
    return _json_object(beside.read_text(encoding="utf-8"), source=str(beside))


def _diffusers_config(path: Path) -> dict[str, Any]:
    text = read_header(path).get(_DIFFUSERS_HEADER)
    if text is None:
        return {}
    values = _json_object(text, source=f"the {_DIFFUSERS_HEADER} header of {path}")
    return {re.sub(r"^(unet|transformer)\.", "", key): value for key, value in values.items()}


def _json_object(text: str, *, source: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{source} is not valid JSON: {error}.") from error
    return values if isinstance(values, dict) else {}


def _described(state: LoraState, alphas: Mapping[str, float]) -> CheckpointInfo:
    """The header, completed by what keys and shapes tell."""
    ranks, values = set(state.ranks.values()), set(alphas.values())
    info = state.info
    return replace(
        info,
        lora_rank=ranks.pop() if len(ranks) == 1 else None,
        lora_alpha=values.pop() if len(values) == 1 else None,
        lora_targets=info.lora_targets or endings(state.modules),
    )


def _some(keys: list[str], *, count: int = 3) -> str:
    shown = ", ".join(sorted(keys)[:count])
    return f"{shown} and {len(keys) - count} more" if len(keys) > count else shown or "nothing"
