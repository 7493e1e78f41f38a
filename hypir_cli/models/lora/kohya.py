"""Kohya's names for the layers of each family, which ComfyUI and A1111 go by.

SD 1 and 2 keep diffusers' paths with underscores. The others go by the layers of their makers' own code: SDXL numbers its blocks
through, the transformers fuse query, key and value (and FLUX.1's single blocks the MLP) into one layer. Adapters of fused parts
become one adapter with the parts' ranks side by side, which is exact.

Sources: kohya-ss/sd-scripts (networks/lora.py, lora_sd3.py, lora_flux.py), Stability-AI/generative-models, black-forest-labs/flux.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pkgutil import resolve_name

import torch
from torch import Tensor

from hypir_cli.config.family import Family

FLAT_PREFIX = "lora_unet_"

Names = dict[str, tuple[str, ...]]
"""Kohya's name, without prefix, -> the module paths it stands for."""

_Names = tuple[tuple[str, tuple[str, ...]], ...]
_IMAGE_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_TEXT_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_DOUBLE: _Names = (
    ("img_attn_qkv", _IMAGE_QKV),
    ("img_attn_proj", ("attn.to_out.0",)),
    ("img_mlp_0", ("ff.net.0.proj",)),
    ("img_mlp_2", ("ff.net.2",)),
    ("img_mlp_0", ("ff.linear_in",)),
    ("img_mlp_2", ("ff.linear_out",)),
    ("txt_attn_qkv", _TEXT_QKV),
    ("txt_attn_proj", ("attn.to_add_out",)),
    ("txt_mlp_0", ("ff_context.net.0.proj",)),
    ("txt_mlp_2", ("ff_context.net.2",)),
    ("txt_mlp_0", ("ff_context.linear_in",)),
    ("txt_mlp_2", ("ff_context.linear_out",)),
)
_SINGLE: _Names = (
    ("linear1", (*_IMAGE_QKV, "proj_mlp")),
    ("linear1", ("attn.to_qkv_mlp_proj",)),
    ("linear2", ("proj_out",)),
    ("linear2", ("attn.to_out",)),
)
_JOINT: _Names = (
    ("x_block_attn_qkv", _IMAGE_QKV),
    ("x_block_attn_proj", ("attn.to_out.0",)),
    ("x_block_attn2_qkv", ("attn2.to_q", "attn2.to_k", "attn2.to_v")),
    ("x_block_attn2_proj", ("attn2.to_out.0",)),
    ("x_block_mlp_fc1", ("ff.net.0.proj",)),
    ("x_block_mlp_fc2", ("ff.net.2",)),
    ("context_block_attn_qkv", _TEXT_QKV),
    ("context_block_attn_proj", ("attn.to_add_out",)),
    ("context_block_mlp_fc1", ("ff_context.net.0.proj",)),
    ("context_block_mlp_fc2", ("ff_context.net.2",)),
)
_FLUX_BLOCKS = {
    "transformer_blocks": ("double_blocks", _DOUBLE),
    "single_transformer_blocks": ("single_blocks", _SINGLE),
}
_SD3_BLOCKS = {"transformer_blocks": ("joint_blocks", _JOINT)}
_RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
_SDXL_TOP = {"conv_in": "input_blocks_0_0", "conv_out": "out_2"}
_TRANSFORMER_TOP = {"proj_out": "final_layer_linear"}
_UNET_PART = re.compile(
    r"(?P<side>down|up)_blocks\.(?P<block>\d+)\.(?P<kind>resnets|attentions|downsamplers|upsamplers)"
    r"\.(?P<index>\d+)\.(?P<rest>.+)"
)
_MIDDLE_PART = re.compile(r"mid_block\.(?P<kind>resnets|attentions)\.(?P<index>\d+)\.(?P<rest>.+)")


def kohya_names(modules: Iterable[str], *, family: Family) -> Names:
    """The names of one backbone's layers.

    Args:
        modules: Module paths inside a diffusers denoiser; what is fused needs all its parts.
        family: A backbone whose record has `kohya`, one of the functions below or another package's.

    Returns:
        One entry per layer of the maker's own code; modules without a name there are left out.
    """
    names: Names = resolve_name(family.kohya)(list(modules))
    return names


def underscored_names(paths: Sequence[str]) -> Names:
    """Stable Diffusion 2: diffusers' paths with underscores."""
    return {path.replace(".", "_"): (path,) for path in paths}


def sd3_names(paths: Sequence[str]) -> Names:
    """Stable Diffusion 3: joint blocks."""
    return _transformer_names(paths, _SD3_BLOCKS)


def flux_names(paths: Sequence[str]) -> Names:
    """FLUX.1 and FLUX.2: double and single blocks."""
    return _transformer_names(paths, _FLUX_BLOCKS)


def fuse(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """One adapter that does to a fused layer what several do to its parts.

    Args:
        parts: (down, up) of each part, in the order of their rows; alpha equals rank in all of them.

    Returns:
        (down, up) of rank r1 + r2 + ...; up is block diagonal.
    """
    if len(parts) == 1:
        return parts[0]
    down = torch.cat([down for down, _ in parts])
    up = down.new_zeros(sum(len(part) for _, part in parts), len(down))
    row = column = 0
    for part_down, part_up in parts:
        up[row : row + len(part_up), column : column + len(part_down)] = part_up
        row, column = row + len(part_up), column + len(part_down)
    return down, up


def split(
    down: Tensor, up: Tensor, *, alpha: float, rows: Sequence[int]
) -> list[tuple[Tensor, Tensor, float]]:
    """The adapters of a fused layer's parts.

    Args:
        down: (rank, in).
        up: (out, rank).
        alpha: Alpha of the fused adapter.
        rows: Outputs of each part, in order; they sum to `out`.

    Returns:
        (down, up, alpha) per part; inner dimensions that a part does not use are dropped.
    """
    parts = []
    for part in torch.tensor_split(up, tuple(accumulate(rows))[:-1]):
        used = part.ne(0).any(dim=0)
        used[0] |= not bool(used.any())
        parts.append((down[used], part[:, used], alpha * int(used.sum()) / down.shape[0]))
    return parts


def _transformer_names(paths: Sequence[str], blocks: Mapping[str, tuple[str, _Names]]) -> Names:
    known = set(paths)
    names: Names = {flat: (path,) for path, flat in _TRANSFORMER_TOP.items() if path in known}
    for prefix in sorted({match[0] for path in paths if (match := re.match(r"\w+\.\d+", path))}):
        kind, _, number = prefix.partition(".")
        target, table = blocks.get(kind, ("", ()))
        for name, endings in table:
            parts = tuple(f"{prefix}.{ending}" for ending in endings)
            if known.issuperset(parts):
                names[f"{target}_{number}_{name}"] = parts
    return names


def sdxl_names(paths: Sequence[str]) -> Names:
    """Stable Diffusion XL: blocks numbered through."""
    found = [match for path in paths if (match := _UNET_PART.fullmatch(path)) and _inner(match)]
    layers = [
        int(m["index"]) + 1 for m in found if m["side"] == "down" and m["kind"] != "downsamplers"
    ]
    # SDXL has two layers per block; what adapts only the way up has one more.
    per_block = max(layers, default=2)
    attended = {m["block"] for m in found if m["side"] == "up" and m["kind"] == "attentions"}
    names: Names = {flat: (path,) for path, flat in _SDXL_TOP.items() if path in paths}
    for match in found:
        name = _block_name(match, per_block=per_block, attended=match["block"] in attended)
        names[name] = (match[0],)
    for path in paths:
        if (match := _MIDDLE_PART.fullmatch(path)) and _inner(match):
            number = 1 if match["kind"] == "attentions" else 2 * int(match["index"])
            names[f"middle_block_{number}_{_inner(match)}"] = (path,)
    return names


def _block_name(match: re.Match[str], *, per_block: int, attended: bool) -> str:
    block, index, kind = int(match["block"]), int(match["index"]), match["kind"]
    stride = per_block + 1
    if kind == "downsamplers":
        return f"input_blocks_{(block + 1) * stride}_0_op"
    if kind == "upsamplers":
        return f"output_blocks_{block * stride + per_block}_{1 + attended}_conv"
    number = 1 + block * stride + index if match["side"] == "down" else block * stride + index
    place = f"{'input' if match['side'] == 'down' else 'output'}_blocks_{number}"
    return f"{place}_{int(kind == 'attentions')}_{_inner(match)}"


def _inner(match: re.Match[str]) -> str:
    """The part of a name inside its block; empty for layers that SDXL does not have."""
    rest = match["rest"]
    if match["kind"] == "resnets":
        return _RESNET.get(rest, "")
    return rest.replace(".", "_")
