"""Put a fine-tuned VAE encoder, the result of `hypir train-encoder`, into a backbone."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.backbones.base import Backbone
from hypir_cli.checkpoint import CheckpointInfo, load_tensors
from hypir_cli.errors import CheckpointError


def load_encoder(backbone: Backbone, path: Path) -> CheckpointInfo:
    """Replace the weights of the backbone's encoder.

    Returns:
        Header of the file.

    Raises:
        CheckpointError: Not a file of `hypir train-encoder`, of another backbone, or with other tensors.
    """
    tensors, info = load_tensors(path)
    if info is None or info.kind != "encoder":
        kind = f"{info.kind} weights" if info is not None else "no header of hypir"
        raise CheckpointError(
            f"{path} is not a fine-tuned encoder: it has {kind}.",
            hint="give the encoder.safetensors of a hypir train-encoder run",
        )
    if info.backbone != backbone.traits.name:
        raise CheckpointError(
            f"the encoder {path} belongs to the backbone {info.backbone!r}, not {backbone.traits.name!r}.",
            hint=f"use it with --backbone {info.backbone}",
        )
    try:
        backbone.encoder_module().load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"the encoder {path} does not fit: {str(error).splitlines()[-1].strip()}",
            hint="it was trained on another version of the base weights",
        ) from error
    return info
