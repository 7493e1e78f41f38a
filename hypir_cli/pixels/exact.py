"""Arithmetic with pixels stays in float32 where networks around it compute in half precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
_DEVICE_TYPES = ("cpu", "cuda", "mps")


def outside_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """The same function, computed in the number format of its arguments also inside an autocast block.

    Autocast is for networks: a filter, a transform or a statistic of pixels in half precision is off by whole 8-bit levels, or
    overflows.
    """

    @functools.wraps(function)
    def exact(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as stack:
            for device_type in _DEVICE_TYPES:
                if torch.is_autocast_enabled(device_type):
                    stack.enter_context(torch.autocast(device_type, enabled=False))
            return function(*args, **kwargs)

    return exact
