"""What people's ratings say: mean rating and share of pairs won, per method."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hypir_cli.config.evaluate import BootstrapConfig
from hypir_cli.errors import InputError
from hypir_cli.evaluate.bootstrap import Interval, mean_interval


@dataclass(frozen=True, kw_only=True)
class MethodRating:
    """What raters thought of one method."""

    method: str
    """Its name."""
    rating: Interval
    """Mean rating, 0..10: first over the ratings of an image, then over images, which are resampled."""
    wins: Interval
    """Share of its pairs in which it was rated higher; a tie counts half. Averaged in the same way."""
    num_ratings: int
    """Ratings it got."""


@dataclass(frozen=True, kw_only=True)
class RatingSummary:
    """What all raters thought."""

    num_raters: int
    """Files of ratings."""
    methods: tuple[MethodRating, ...]
    """From best to worst mean rating."""


KEY_FORMAT = "hypir-study/1"
RATINGS_FORMAT = "hypir-ratings/1"
KEY_NAME = "key.json"
"""Which picture is whose; lies in the study's folder, not for raters."""
MAX_RATING = 10


def summarise_ratings(
    files: Sequence[Path], *, key: Path | None, bootstrap: BootstrapConfig
) -> RatingSummary:
    """Mean ratings of every method over all raters.

    Args:
        files: What the rating page saved, one per rater.
        key: The study's key; None looks beside the first file.
        bootstrap: How intervals are made.

    Raises:
        InputError: A file is missing, broken or of another study.
    """
    answers = _read(key or files[0].parent / KEY_NAME, KEY_FORMAT, what="study key")
    ratings: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    wins: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for path in files:
        sheet = _read(path, RATINGS_FORMAT, what="ratings file")
        if sheet.get("study") != answers["study"]:
            raise InputError(
                f"{path} rates another study than the key.",
                hint="give the key that was made with that page",
            )
        _collect(sheet, answers, ratings, wins, path=path)
    if not ratings:
        raise InputError("the ratings files hold no rating.")
    found = [_method(name, ratings[name], wins[name], bootstrap) for name in ratings]
    found.sort(key=lambda item: -item.rating.mean)
    return RatingSummary(num_raters=len(files), methods=tuple(found))


def _collect(
    sheet: dict[str, Any],
    answers: dict[str, Any],
    ratings: dict[str, dict[str, list[float]]],
    wins: dict[str, dict[str, list[float]]],
    *,
    path: Path,
) -> None:
    pairs = {pair["id"]: pair for pair in answers["pairs"]}
    for entry in sheet["ratings"]:
        pair = pairs.get(entry["pair"])
        if pair is None:
            raise InputError(f"{path} rates a pair {entry['pair']!r} that the study does not have.")
        values = {side: _rating(entry[side], path) for side in "ab"}
        for side, other in (("a", "b"), ("b", "a")):
            item = answers["items"][pair[side]]
            ratings[item["method"]][item["image"]].append(values[side])
            won = (float(np.sign(values[side] - values[other])) + 1) / 2
            wins[item["method"]][item["image"]].append(won)


def _rating(value: object, path: Path) -> float:
    if not isinstance(value, (int, float)) or not 0 <= value <= MAX_RATING:
        raise InputError(f"{path} holds the rating {value!r}, expected 0 to {MAX_RATING}.")
    return float(value)


def _method(
    name: str,
    ratings: dict[str, list[float]],
    wins: dict[str, list[float]],
    bootstrap: BootstrapConfig,
) -> MethodRating:
    return MethodRating(
        method=name,
        rating=_interval(ratings, bootstrap),
        wins=_interval(wins, bootstrap),
        num_ratings=sum(map(len, ratings.values())),
    )


def _interval(values: dict[str, list[float]], bootstrap: BootstrapConfig) -> Interval:
    # Ratings of one picture hang together, so pictures are resampled, not ratings.
    return mean_interval(
        np.array([np.mean(row) for row in values.values()]),
        resamples=bootstrap.resamples,
        confidence=bootstrap.confidence,
        seed=bootstrap.seed,
    )


def _read(path: Path, kind: str, *, what: str) -> dict[str, Any]:
    hint = (
        "name the study's key with --study-key"
        if kind == KEY_FORMAT
        else "give what the page saved"
    )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the {what} {path}: {error}.", hint=hint) from error
    if not isinstance(content, dict) or content.get("format") != kind:
        raise InputError(f"{path} is not a {what} ({kind}).", hint=hint)
    return content
