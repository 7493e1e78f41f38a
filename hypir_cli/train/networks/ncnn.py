"""Weights in the format of ncnn: convolutions one after the other, each tagged, padded to 4 bytes, its bias behind it in float32."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

_HALF_PRECISION = (0x01306B47).to_bytes(4, "little")
"""Tag in front of weights that are float16."""


@torch.no_grad()
def fill_from_ncnn(network: nn.Module, content: bytes) -> None:
    """Fill a network's convolutions, in the order of their registration, from a file of float16 weights.

    Raises:
        ValueError: The content does not hold these convolutions.
    """
    place = 0
    for conv in network.modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        number = conv.weight.numel()
        end = place + 4 + 2 * number + 2 * number % 4 + 4 * conv.out_channels
        if end > len(content) or content[place : place + 4] != _HALF_PRECISION:
            raise ValueError(f"no float16 weights of {number} numbers at byte {place}")
        weight = np.frombuffer(content, np.dtype("<f2"), count=number, offset=place + 4)
        offset = end - 4 * conv.out_channels
        bias = np.frombuffer(content, np.dtype("<f4"), count=conv.out_channels, offset=offset)
        conv.weight.copy_(torch.from_numpy(weight.astype(np.float32)).view_as(conv.weight))
        assert conv.bias is not None
        conv.bias.copy_(torch.from_numpy(bias.copy()))
        place = end
    if place != len(content):
        raise ValueError(f"{len(content) - place} bytes are left over")
