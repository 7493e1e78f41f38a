"""Prompts to token ids and embeddings, the steps that the text-to-image families share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from hypir_cli.models.execution import module_device


def token_ids(tokenizer: Any, prompts: Sequence[str], *, max_length: int) -> Tensor:
    """Token ids padded and cut to a length: (B, max_length) int64."""
    encoded = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=max_length,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = encoded.input_ids
    return ids


def dropped_text(tokenizer: Any, prompt: str, *, max_length: int) -> str:
    """The end of a prompt that `token_ids` cuts off, as the tokenizer spells it; empty when all fits."""
    ids = tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
    room = max_length - tokenizer.num_special_tokens_to_add()
    return str(tokenizer.decode(ids[room:])).strip()


def clip_embeddings(encoder: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Token embeddings before CLIP's last layer, (B, L, D), and its first output.

    The first output is the projected prompt vector, (B, P), for encoders that have a projection.
    """
    output = encoder(ids.to(module_device(encoder)), output_hidden_states=True)
    return output.hidden_states[-2], output[0]


def t5_embeddings(encoder: nn.Module, ids: Tensor) -> Tensor:
    """Token embeddings of a T5 encoder, (B, L, D); padding is attended to, as in the families' own pipelines."""
    embeddings: Tensor = encoder(ids.to(module_device(encoder)))[0]
    return embeddings
