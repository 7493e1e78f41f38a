"""Prompt embeddings, computed once per distinct prompt and kept in bounded memory."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Sequence

import torch

from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.models.device import free_memory

logger = logging.getLogger(__name__)

LARGEST_SHARE = 0.25
"""Share of the free host memory that embeddings may take."""
LEAST_BYTES = 2**30
"""What they may take however little is free; text encoders that stay loaded would take more."""


class PromptCache:
    """Embeddings in host memory, by prompt; the ones used longest ago give way.

    Args:
        backbone: Encodes what is not there.
        max_bytes: Most that is kept; None takes `usual_limit`.
        chunk: Prompts that are encoded together. With 1 an embedding is the same to the last bit in any company.
    """

    def __init__(self, backbone: Backbone, *, max_bytes: int | None = None, chunk: int = 1) -> None:
        self._backbone = backbone
        self._max_bytes = usual_limit() if max_bytes is None else max_bytes
        self._chunk = chunk
        self._num_bytes = 0
        self._embeds: OrderedDict[str, PromptEmbeds] = OrderedDict()

    def __contains__(self, prompt: str) -> bool:
        """Whether a prompt's embedding is there."""
        return prompt in self._embeds

    def get(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Embeddings on the backbone's device, one row per prompt.

        Raises:
            BackboneError: A prompt is new and the text encoders were released.
        """
        for chunk in self._missing(prompts):
            self._encode(chunk)
        batch = PromptEmbeds.stack([self._embeds[text] for text in prompts])
        for text in prompts:
            self._embeds.move_to_end(text)
        self._shrink()
        return batch.to(self._backbone.device)

    def prefill(self, prompts: Sequence[str]) -> bool:
        """Encode all prompts there will be and let the text encoders go.

        Returns:
            Whether that was done. If the embeddings do not fit, the text encoders stay and encode prompts as they come.
        """
        for chunk in self._missing(prompts):
            self._encode(chunk)
            if self._num_bytes > self._max_bytes:
                self._shrink()
                logger.warning(
                    "the embeddings of %d prompts need more than %.1f GiB; the text encoders stay "
                    "loaded and encode prompts as they come.",
                    len(set(prompts)),
                    self._max_bytes / 2**30,
                )
                return False
        self._backbone.release_text_encoders()
        return True

    def _missing(self, prompts: Sequence[str]) -> list[list[str]]:
        """The distinct prompts that are not there, in chunks."""
        new = [text for text in dict.fromkeys(prompts) if text not in self._embeds]
        return [new[start : start + self._chunk] for start in range(0, len(new), self._chunk)]

    @torch.no_grad()
    def _encode(self, prompts: Sequence[str]) -> None:
        embeds = self._backbone.encode_prompts(prompts).detach().to("cpu")
        for row, text in enumerate(prompts):
            self._embeds[text] = embeds.select([row])
            self._num_bytes += self._embeds[text].num_bytes

    def _shrink(self) -> None:
        while self._num_bytes > self._max_bytes:
            self._num_bytes -= self._embeds.popitem(last=False)[1].num_bytes


def usual_limit(*, processes: int = 1) -> int:
    """Bytes of embeddings that each of a host's processes may keep."""
    free = free_memory(torch.device("cpu"))
    return max(LEAST_BYTES, int(LARGEST_SHARE * free) // processes)
