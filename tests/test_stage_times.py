"""Seconds by stage: of the device where it works on after the call has returned, and without waiting for it in between."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hypir_cli.restore import times
from hypir_cli.restore.restorer import Restorer, TileLimits
from hypir_cli.restore.tile_pass import Request
from hypir_cli.restore.times import StageTimes
from tests.identity import IdentityBackbone

SECONDS = {"encode": 2.0, "denoise": 5.0, "decode": 3.0}


class Queue:
    """A device that takes work at once and does it later, by a clock of its own."""

    def __init__(self) -> None:
        self.clock = 0.0
        self.waits = 0


class FakeMark:
    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.time: float | None = None

    def record(self) -> None:
        self.time = self.queue.clock

    def synchronize(self) -> None:
        self.queue.waits += 1

    def elapsed_time(self, later: FakeMark) -> float:
        assert self.time is not None
        assert later.time is not None
        return 1000.0 * (later.time - self.time)


class Queued(IdentityBackbone):
    """Its calls cost the queue's time and none of ours."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self.queue = queue

    def encode(self, images, *, noise=None):
        self.queue.clock += SECONDS["encode"]
        return super().encode(images, noise=noise)

    def denoise(self, latents, **arguments):
        self.queue.clock += SECONDS["denoise"]
        return super().denoise(latents, **arguments)

    def decode(self, latents):
        self.queue.clock += SECONDS["decode"]
        return super().decode(latents)


def test_stages_of_a_queue_get_the_time_that_the_device_took(monkeypatch):
    queue = Queue()
    monkeypatch.setattr(times, "new_mark", lambda _device: FakeMark(queue))
    backbone, spent = Queued(queue), StageTimes()
    request = Request(prompt=backbone.encode_prompts([""]), timestep=200, coeff_timestep=200)
    restorer = Restorer(backbone, limits=TileLimits(largest=64, overlap=16, batch=1))
    pixels = np.zeros((100, 100, 3), np.uint8)
    restorer.restore(pixels, request=request, times=spent)
    tiles = restorer.plan(100, 100).count
    assert tiles > 1
    for stage, seconds in SECONDS.items():
        assert getattr(spent, stage) == pytest.approx(tiles * seconds)
    # Marks are read when a tile is here already: three stages of every tile.
    assert queue.waits == 3 * tiles


def test_a_device_without_a_queue_is_timed_by_the_wall():
    spent = StageTimes(device=torch.device("cpu"))
    with spent.measure_on_device("encode"):
        sum(range(1000))
    assert spent.encode > 0
    spent.collect()


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_gpus_are_timed_by_their_own_events(monkeypatch, kind):
    made = []

    def event(*, enable_timing):
        made.append(enable_timing)
        return FakeMark(Queue())

    monkeypatch.setattr(times, f"_{kind}_event", event)
    monkeypatch.setattr(torch.cuda, "device", lambda _device: torch.device("cpu"))
    assert isinstance(times.new_mark(torch.device(kind)), FakeMark)
    assert made == [True]
