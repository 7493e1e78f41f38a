"""Which prompts a training run needs."""

from __future__ import annotations

from contextlib import suppress

from hypir_cli.config.data import DataConfig
from hypir_cli.errors import InputError
from hypir_cli.train.data.sources import find_items, read_prompt

MAX_PREFILLED = 20_000
"""Distinct prompts that are encoded before the run; with more, text encoders stay loaded and encode as they come."""


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
