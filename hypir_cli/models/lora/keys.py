"""The names that other programs give to adapter tensors, translated to ours.

Known are: the HYPIR release and PEFT models saved whole (`<module>.lora_A.default.weight`), PEFT's own files
(`base_model.model.<module>.lora_A.weight`), diffusers (`unet.` or `transformer.` in front, `lora.down`/`lora.up` in old ones)
and kohya (`lora_unet_<module with underscores>.lora_down.weight`, `.alpha`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hypir_cli.models.lora.state import CONTROL_PREFIX, DOWN_SUFFIX, PREDICTOR_PREFIX, UP_SUFFIX

_HALF = re.compile(
    r"^(?P<module>.+?)\.(?:lora_(?P<letter>[AB])(?:\.(?P<adapter>(?!weight$)[^.]+))?"
    r"|lora[._](?P<word>down|up))\.weight$"
)
_WRAPPERS = (
    *("base_model.model.", "module.", "_orig_mod.", "unet.", "transformer.", "diffusion_model."),
    "model.diffusion_model.",
)
FLAT_PREFIXES = ("lora_unet_", "lora_transformer_")
"""Beginnings of kohya's module names, in which dots became underscores."""


@dataclass(frozen=True, kw_only=True)
class ParsedKeys:
    """Tensors of a file, sorted by what they are."""

    halves: dict[str, Tensor] = field(default_factory=dict)
    """Adapter halves under our names (kohya's modules keep their flat name)."""
    alphas: dict[str, float] = field(default_factory=dict)
    """Alphas given as tensors, by module."""
    controls: dict[str, Tensor] = field(default_factory=dict)
    """Control embedding, prefix removed."""
    predictor: dict[str, Tensor] = field(default_factory=dict)
    """Texture predictor, prefix removed."""
    others: list[str] = field(default_factory=list)
    """Keys that are none of these."""
    named_adapter: bool = False
    """Whether keys carry an adapter name, as in a state dict of live modules (the release's format)."""


def parse_keys(raw: Mapping[str, Tensor], *, literal: bool) -> ParsedKeys:
    """Sort the tensors of a file.

    Args:
        raw: Tensors under the file's own names.
        literal: Module paths are ours already: strip no wrapper names from them.
    """
    parsed = ParsedKeys()
    named = False
    for key, value in raw.items():
        half = _HALF.match(key)
        if key.startswith(CONTROL_PREFIX):
            parsed.controls[key.removeprefix(CONTROL_PREFIX)] = value
        elif key.startswith(PREDICTOR_PREFIX):
            parsed.predictor[key.removeprefix(PREDICTOR_PREFIX)] = value
        elif half:
            is_down = half["letter"] == "A" or half["word"] == "down"
            module = half["module"] if literal else _unwrapped(half["module"])
            parsed.halves[module + (DOWN_SUFFIX if is_down else UP_SUFFIX)] = value
            named = named or half["adapter"] is not None
        elif key.endswith(".alpha") and value.numel() == 1:
            module = key.removesuffix(".alpha").removesuffix(".lora")
            parsed.alphas[module if literal else _unwrapped(module)] = float(value)
        else:
            parsed.others.append(key)
    return ParsedKeys(
        halves=parsed.halves,
        alphas=parsed.alphas,
        controls=parsed.controls,
        predictor=parsed.predictor,
        others=parsed.others,
        named_adapter=named,
    )


def endings(modules: Iterable[str]) -> tuple[str, ...]:
    """Shortest useful endings that cover module paths: `to_k`, `to_out.0`; sorted."""

    def ending(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[-2:]) if parts[-1].isdigit() else parts[-1]

    return tuple(sorted({ending(module) for module in modules}))


def _unwrapped(module: str) -> str:
    while True:
        prefix = next((wrapper for wrapper in _WRAPPERS if module.startswith(wrapper)), None)
        if prefix is None:
            return module
        module = module.removeprefix(prefix)
