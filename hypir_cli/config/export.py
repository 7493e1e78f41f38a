"""Settings of `hypir export-lora`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypir_cli.config.checks import check_within
from hypir_cli.config.flags import flag

ExportFormat = Literal["peft", "diffusers", "kohya", "reference", "merged"]


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """All settings of `hypir export-lora`."""

    format: ExportFormat = flag("peft", "--format")
    """peft (ours and PEFT's), diffusers (load_lora_weights), kohya (ComfyUI, A1111), reference (the release's .pth), merged base."""
    weights: Literal["ema", "raw"] = "ema"
    """Which weights of a training run: averaged (ema) or as trained (raw)."""
    dtype: Literal["fp32", "fp16", "bf16"] | None = flag(None, "--dtype")
    """Number format of what is written; unset keeps the LoRA's, and for merged the base's."""
    rank: int | None = flag(None, "--rank")
    """Reduce adapters to this rank by singular value decomposition; unset keeps theirs."""
    backbone: str | None = flag(None, "--backbone")
    """Backbone of a LoRA whose header does not name it."""
    base: str | None = flag(None, "--base")
    """Base weights for merged: a diffusers-layout folder or a hub id; unset takes the LoRA's or the backbone's own."""
    revision: str | None = flag(None, "--revision")
    """Hub revision of the base weights."""
    overwrite: bool = flag(False, "--overwrite")
    """Replace what is at the output path."""

    def __post_init__(self) -> None:
        check_within(self, "", ("rank",), least=1)
