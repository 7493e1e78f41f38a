"""All weights of a backbone in one file, the result of `hypir train-gan` with `lora.rank: full`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.checkpoint import (
    CheckpointInfo,
    load_tensors,
    require_match,
    require_tensors,
    split_prefix,
)
from hypir_cli.models.lora import CONTROL_PREFIX, PREDICTOR_PREFIX
from hypir_cli.models.weights import use_timesteps
from hypir_cli.pixels.texture import TexturePredictor


def whole_modules(backbone: Backbone) -> dict[str, nn.Module]:
    """What whole-weight training trains: `vae` and `denoiser`; text encoders stay as they are."""
    parts = backbone.components()
    return {name: parts[name] for name in ("vae", "denoiser")}


@torch.no_grad()
def load_whole(backbone: Backbone, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Copy weights named `vae.*` and `denoiser.*` into a backbone.

    Raises:
        CheckpointError: Keys or shapes are not the backbone's.
    """
    wanted = {
        f"{part}.{name}": parameter
        for part, module in whole_modules(backbone).items()
        for name, parameter in module.named_parameters()
    }
    require_tensors(tensors, wanted, source=source, target=backbone.traits.name)
    for key, parameter in wanted.items():
        parameter.copy_(tensors[key])


def apply_whole(backbone: Backbone, path: Path) -> CheckpointInfo:
    """Give a backbone the weights of a file, with the controls and the texture predictor trained with them.

    Returns:
        Header of the file.

    Raises:
        CheckpointError: Not such a file, of another backbone, or with other keys or shapes.
    """
    tensors, info = load_tensors(path)
    info = info or CheckpointInfo(kind="backbone")
    require_match(info, kind="backbone", backbone=backbone.traits.name, source=str(path))
    controls, rest = split_prefix(tensors, CONTROL_PREFIX)
    predictor, weights = split_prefix(rest, PREDICTOR_PREFIX)
    load_whole(backbone, weights, source=str(path))
    if controls:
        embedding = backbone.enable_controls()
        require_tensors(controls, embedding.state_dict(), source=str(path), target="controls")
        embedding.load_state_dict(controls)
    if predictor:
        backbone.texture_predictor = TexturePredictor.from_tensors(predictor)
    use_timesteps(backbone, info)
    return info
