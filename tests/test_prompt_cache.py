"""Prompt embeddings: each computed once, within a limit of memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import torch

from hypir_cli.errors import BackboneError
from hypir_cli.models import prompt_cache
from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.prompt_cache import LEAST_BYTES, PromptCache, usual_limit
from tests.identity import IdentityBackbone

ROW = 4 * (6 + 2)
"""Bytes of one embedding of `Writer`."""


class Writer(IdentityBackbone):
    """A backbone that keeps a list of what it was asked to encode."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, ...]] = []
        self.released = False

    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        if self.released:
            raise BackboneError("the text encoders were released.")
        self.asked.append(tuple(prompts))
        values = torch.tensor([float(len(text)) for text in prompts])
        return PromptEmbeds(
            sequence=values[:, None, None].expand(-1, 2, 3), pooled=values[:, None].expand(-1, 2)
        )

    def release_text_encoders(self) -> None:
        self.released = True


def lengths(embeds: PromptEmbeds) -> list[float]:
    return embeds.sequence[:, 0, 0].tolist()


def test_each_prompt_is_encoded_once_and_rows_follow_the_question() -> None:
    backbone = Writer()
    cache = PromptCache(backbone, chunk=2)
    embeds = cache.get(["a", "bb", "a", "ccc"])
    assert lengths(embeds) == [1, 2, 1, 3]
    assert embeds.pooled is not None
    assert embeds.pooled.shape == (4, 2)
    assert lengths(cache.get(["ccc", "a"])) == [3, 1]
    assert cache.prefill(["a", "bb"])
    assert backbone.asked == [("a", "bb"), ("ccc",)]


def test_the_prompts_used_longest_ago_give_way_at_the_limit() -> None:
    backbone = Writer()
    cache = PromptCache(backbone, max_bytes=2 * ROW)
    for text in ("a", "bb", "a", "ccc", "a", "bb"):
        assert lengths(cache.get([text])) == [len(text)]
    assert [text for (text,) in backbone.asked] == ["a", "bb", "ccc", "bb"]
    assert ["a" in cache, "bb" in cache, "ccc" in cache] == [True, True, False]


def test_a_batch_beyond_the_limit_is_still_answered() -> None:
    cache = PromptCache(Writer(), max_bytes=ROW)
    assert lengths(cache.get(["a", "bb", "ccc"])) == [1, 2, 3]
    assert "ccc" in cache
    assert "a" not in cache
    assert lengths(PromptCache(Writer(), max_bytes=0).get(["a"])) == [1]


def test_the_text_encoders_go_when_all_prompts_fit() -> None:
    backbone = Writer()
    cache = PromptCache(backbone, max_bytes=3 * ROW)
    assert cache.prefill(["a", "bb", "ccc", "a"])
    assert backbone.released
    assert lengths(cache.get(["ccc", "bb", "a"])) == [3, 2, 1]
    with pytest.raises(BackboneError):
        cache.get(["new"])


def test_the_text_encoders_stay_when_the_prompts_do_not_fit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backbone = Writer()
    cache = PromptCache(backbone, max_bytes=2 * ROW)
    with caplog.at_level(logging.WARNING):
        assert not cache.prefill([str(number) for number in range(10_000)])
    assert not backbone.released
    assert len(backbone.asked) == 3
    assert "10000 prompts" in caplog.text
    assert lengths(cache.get(["12345", "0"])) == [5, 1]


def test_the_usual_limit_is_a_share_of_the_free_memory_for_all_processes_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prompt_cache, "free_memory", lambda device: 80 * 2**30)
    assert usual_limit() == 20 * 2**30
    assert usual_limit(processes=4) == 5 * 2**30
    assert usual_limit(processes=1000) == LEAST_BYTES
