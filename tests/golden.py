"""The golden vectors of the reference's behaviour, and the tiny model that made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from hypir_cli.models.backbones.sd2.backbone import SD2Backbone
from hypir_cli.models.lora import read_lora
from hypir_cli.models.weights import apply_lora

ROOT = Path(__file__).parent / "data" / "golden"
MODEL = ROOT / "model"
LORA = ROOT / "lora.pth"
PROMPT = "photo of the sea and the rising sun"
SCALING = 0.18215
"""The VAE's scaling factor; the vectors hold unscaled latents."""


def tensors(name: str) -> dict[str, Tensor]:
    """A file of vectors, e.g. `stages/networks`."""
    return load_file(ROOT / f"{name}.safetensors")


def model(*, lora: bool = True, merge: bool = True) -> SD2Backbone:
    """The backbone that made the vectors."""
    backbone = SD2Backbone.load(str(MODEL))
    if lora:
        apply_lora(backbone, read_lora(LORA), merge=merge)
    return backbone


def contiguous(backbone: SD2Backbone) -> SD2Backbone:
    """With the VAE's convolutions stored as the reference stores them."""
    backbone.vae.to(memory_format=torch.contiguous_format)
    return backbone


def image(name: str) -> Tensor:
    """An input, (1, 3, H, W) in 0..1."""
    with Image.open(ROOT / "inputs" / f"{name}.png") as file:
        pixels = np.asarray(file.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255.0


def manifest() -> list[dict[str, Any]]:
    """Name, shape and sum of every output."""
    entries: list[dict[str, Any]] = json.loads((ROOT / "outputs" / "manifest.json").read_text())
    return entries


def output(name: str) -> tuple[Tensor, int]:
    """An output (3, H, W), and the step at which its pixels were kept."""
    (path,) = (ROOT / "outputs").glob(f"{name}*.npy")
    _, _, step = path.stem.partition("_sub")
    return torch.from_numpy(np.load(path)), int(step or 1)


def distance(left: Tensor, right: Tensor) -> float:
    """Largest absolute difference."""
    assert left.shape == right.shape
    return float((left - right).abs().max())
