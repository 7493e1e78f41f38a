"""How large tiles may be and how many go through the networks at once, from the memory there is."""

from __future__ import annotations

import logging
from dataclasses import replace

from hypir_cli.config.restore import TileConfig, parse_bytes
from hypir_cli.errors import ConfigError, DeviceError
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.device import free_memory, total_memory
from hypir_cli.restore.restorer import TileLimits, native_limits

logger = logging.getLogger(__name__)

MEMORY_SHARE = 0.7
"""Share of the free memory that tiles may take: the rest is for images, libraries and other programs."""
LARGEST_BATCH = 8
"""Tiles per call on a GPU, at most; on a CPU one tile already uses every core."""


def choose_limits(backbone: Backbone, config: TileConfig) -> TileLimits:
    """Tile limits for a loaded backbone.

    Tiles have the backbone's own size, and as many go through the networks at once as the device's whole memory holds, so
    that results do not depend on how busy the machine is. Where other programs leave too little for that, tiles are fewer and
    then smaller, and a warning says so, since rounding and blending then differ a little.

    Args:
        backbone: Its weights are in place already, so that free memory counts without them.
        config: What the user asked for.

    Raises:
        ConfigError: A tile that is smaller than the backbone can take.
        DeviceError: `max_memory` is too small for the smallest tile.
    """
    multiple = backbone.traits.tile_multiple
    budget = _budget(backbone, config)
    limits = native_limits(backbone)
    if config.overlap is not None:
        limits = replace(limits, overlap=config.overlap)
    if config.size is not None:
        largest = config.size - config.size % multiple
        overlap = min(limits.overlap, largest // 4) if config.overlap is None else config.overlap
        if largest < max(multiple, 2 * overlap):
            raise ConfigError(
                f"--tile {config.size} is too small for {backbone.traits.name} with an overlap of "
                f"{overlap} px: its tiles are multiples of {multiple} px.",
                hint=f"use at least {max(multiple, 2 * overlap)}, or a smaller --overlap",
            )
        limits = TileLimits(largest=largest, overlap=overlap, batch=1)
    else:
        limits = _shrunk(limits, backbone, budget)
    return replace(limits, batch=config.batch or _batch(limits, backbone, config, budget))


def _budget(backbone: Backbone, config: TileConfig) -> int:
    """Bytes for the activations of one network call."""
    if config.max_memory is None:
        return int(free_memory(backbone.device) * MEMORY_SHARE)
    weights = _weight_bytes(backbone)
    room = parse_bytes(config.max_memory) - weights
    if room <= 0:
        raise DeviceError(
            f"the weights of {backbone.traits.name} alone take {weights / 2**30:.1f} GB, "
            f"--max-memory allows {config.max_memory}.",
            hint="allow more, or use --dtype bf16, --quantize or --offload",
        )
    return room


def _weight_bytes(backbone: Backbone) -> int:
    return sum(
        parameter.numel() * parameter.element_size()
        for module in backbone.components().values()
        for parameter in module.parameters()
    )


def _shrunk(limits: TileLimits, backbone: Backbone, budget: int) -> TileLimits:
    """The largest tile that fits the budget, in steps of a quarter."""
    multiple, largest, overlap = backbone.traits.tile_multiple, limits.largest, limits.overlap
    while backbone.activation_bytes(largest) > budget:
        smaller = int(largest * 0.75) // multiple * multiple
        if smaller < max(multiple, 64):
            raise DeviceError(
                f"{budget / 2**30:.2f} GB is too little memory for {backbone.traits.name}: its smallest "
                f"tile takes {backbone.activation_bytes(largest) / 2**30:.2f} GB.",
                hint="close other programs, raise --max-memory, or use --backbone tiny",
            )
        largest = smaller
    if largest != limits.largest:
        logger.warning(
            "little memory: tiles of %d px instead of %d; edges are blended elsewhere than usual.",
            largest,
            limits.largest,
        )
    return TileLimits(largest=largest, overlap=min(overlap, largest // 4), batch=limits.batch)


def _batch(limits: TileLimits, backbone: Backbone, config: TileConfig, budget: int) -> int:
    """Tiles per call: what fits the device, or `max_memory`; fewer only where other programs hold what is missing."""
    if backbone.device.type == "cpu":
        return 1
    each = backbone.activation_bytes(limits.largest)
    if config.max_memory is not None:
        return _within(budget // each)
    whole = int(total_memory(backbone.device) * MEMORY_SHARE) - _weight_bytes(backbone)
    usual, possible = _within(whole // each), _within(budget // each)
    if possible < usual:
        logger.warning(
            "other programs hold memory of %s: %d tiles at once instead of %d; the last digits of "
            "results may differ.",
            backbone.device,
            possible,
            usual,
        )
    return min(usual, possible)


def _within(count: int) -> int:
    return max(1, min(LARGEST_BATCH, count))
