"""Put a fine-tuned VAE encoder, the result of `hypir train-encoder`, into a backbone."""

from __future__ import annotations

from pathlib import Path

from hypir_cli.errors import CheckpointError
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.checkpoint import CheckpointInfo, load_tensors, require_match, require_tensors


def load_encoder(backbone: Backbone, path: Path) -> CheckpointInfo:
    """Replace the weights of the backbone's encoder.

    Returns:
        Header of the file.

    Raises:
        CheckpointError: Not a file of `hypir train-encoder`, of another backbone, or with other keys or shapes.
    """
    tensors, info = load_tensors(path)
    if info is None:
        raise CheckpointError(
            f"{path} is not a fine-tuned encoder: it has no header of hypir.",
            hint="give the encoder.safetensors of a hypir train-encoder run",
        )
    require_match(info, kind="encoder", backbone=backbone.traits.name, source=str(path))
    encoder = backbone.encoder_module()
    target = f"encoder of {backbone.traits.name}"
    require_tensors(tensors, encoder.state_dict(), source=str(path), target=target)
    encoder.load_state_dict(tensors)
    return info
