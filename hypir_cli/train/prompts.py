"""Prompt embeddings, computed once per distinct prompt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch

from hypir_cli.backbones.base import Backbone, PromptEmbeds
from hypir_cli.config.data import DataConfig
from hypir_cli.errors import InputError
from hypir_cli.train.sources import find_items, read_prompt

MAX_PREFILLED = 20_000
"""Distinct prompts that are encoded before the run; with more, text encoders stay loaded and encode as they come."""
_CHUNK = 16


class PromptCache:
    """Embeddings on the CPU, by prompt.

    Args:
        backbone: Encodes what is not there yet.
        max_prompts: Embeddings that are kept; the oldest give way.
    """

    def __init__(self, backbone: Backbone, *, max_prompts: int = MAX_PREFILLED) -> None:
        self._backbone = backbone
        self._max_prompts = max_prompts
        self._embeds: dict[str, PromptEmbeds] = {}

    @torch.no_grad()
    def get(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Embeddings on the backbone's device, one row per prompt."""
        missing = [text for text in dict.fromkeys(prompts) if text not in self._embeds]
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            embeds = self._backbone.encode_prompts(chunk).detach().to("cpu")
            rows = [embeds.select([row]) for row in range(len(chunk))]
            self._embeds.update(zip(chunk, rows, strict=True))
        batch = PromptEmbeds.stack([self._embeds[text] for text in prompts])
        for text in list(self._embeds)[: max(0, len(self._embeds) - self._max_prompts)]:
            del self._embeds[text]
        return batch.to(self._backbone.device)

    def prefill(self, prompts: Sequence[str]) -> None:
        """Encode all prompts of the run and let the text encoders go; from here on nothing is forgotten."""
        self._max_prompts = max(self._max_prompts, len(prompts))
        self.get(prompts)
        self._backbone.release_text_encoders()


def distinct_prompts(config: DataConfig, *, limit: int = MAX_PREFILLED) -> list[str] | None:
    """Every prompt the data can give, the empty one included; None when that is too much to know beforehand."""
    groups = find_items(config.sources)
    if sum(len(group) for group in groups) > limit:
        return None
    found = {"": None, config.prompt: None}
    for item in (item for group in groups for item in group):
        # A prompt that cannot be read is reported when its sample is drawn, and the sample is left out.
        with suppress(InputError):
            found[read_prompt(item, default=config.prompt)] = None
    return list(found)
