"""What a mistyped name may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], *, most: int = 1, prefix: str = "") -> str:
    """A question after the names that look like it, nearest first; empty without any.

    Args:
        name: What was given.
        known: What there is.
        most: Names that the question has at most.
        prefix: Shown before each name.
    """
    near = difflib.get_close_matches(name, dict.fromkeys(known), n=most)
    return f"did you mean {' or '.join(prefix + each for each in near)}?" if near else ""
