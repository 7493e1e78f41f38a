"""Tile sizes and tiles per call: what the machine is decides, not how busy it is."""

from __future__ import annotations

import pytest
import torch

from hypir_cli.config.restore import TileConfig
from hypir_cli.errors import ConfigError, DeviceError
from hypir_cli.restore import limits
from hypir_cli.restore.limits import LARGEST_BATCH, choose_limits
from tests.identity import IdentityBackbone

TILE = 160
EACH = 1000


class OnGpu(IdentityBackbone):
    """On a card, as far as choosing limits asks; a tile of `TILE` takes `EACH` bytes."""

    place = torch.device("cuda", 0)

    def __init__(self):
        super().__init__(native_tile=128)

    @property
    def device(self):
        return self.place

    def activation_bytes(self, tile):
        return EACH * tile * tile // TILE**2


@pytest.fixture
def memory(monkeypatch):
    """Total and free bytes of the device, for the test to set; enough for a little over five tiles at first."""
    values = {"total": int(5.5 * EACH / limits.MEMORY_SHARE), "free": 10**6}
    monkeypatch.setattr(limits, "total_memory", lambda _device: values["total"])
    monkeypatch.setattr(limits, "free_memory", lambda _device: values["free"])
    return values


def test_tiles_per_call_follow_the_whole_memory_and_not_what_is_free(memory, caplog):
    batches = set()
    for free in (10**4, 10**5, 10**6):
        memory["free"] = free
        batches.add(choose_limits(OnGpu(), TileConfig()).batch)
    assert batches == {5}
    assert not caplog.records


def test_what_other_programs_hold_is_left_to_them_with_a_warning(memory, caplog):
    memory["free"] = int(2.5 * EACH / limits.MEMORY_SHARE)
    assert choose_limits(OnGpu(), TileConfig()).batch == 2
    assert "2 tiles at once instead of 5" in caplog.text


def test_a_large_card_takes_no_more_than_the_largest_batch(memory):
    memory["total"] = 10**9
    assert choose_limits(OnGpu(), TileConfig()).batch == LARGEST_BATCH


def test_a_cpu_takes_one_tile_at_a_time_whatever_is_free(memory):
    for memory["free"] in (10**5, 10**9):
        assert choose_limits(IdentityBackbone(), TileConfig(max_memory="1GB")).batch == 1


def test_a_given_limit_decides_alone(memory):
    for memory["free"] in (10**4, 10**6):
        found = choose_limits(OnGpu(), TileConfig(max_memory=str(3 * EACH + 500)))
        assert found.batch == 3
    assert choose_limits(OnGpu(), TileConfig(batch=7)).batch == 7


def test_smaller_tiles_for_lack_of_memory_are_announced(memory, caplog):
    memory["free"] = int(0.9 * EACH / limits.MEMORY_SHARE)
    assert choose_limits(OnGpu(), TileConfig()).largest < TILE
    assert f"instead of {TILE}" in caplog.text
    memory["free"] = 1
    with pytest.raises(DeviceError, match="too little memory"):
        choose_limits(OnGpu(), TileConfig())


def test_a_tile_below_what_the_backbone_takes_names_the_least():
    with pytest.raises(ConfigError, match="too small") as caught:
        choose_limits(IdentityBackbone(), TileConfig(size=23, overlap=11, max_memory="1GB"))
    assert "at least" in caught.value.hint
