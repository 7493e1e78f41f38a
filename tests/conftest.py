"""What every test needs: one thread; and number formats for tests of training."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch

from tests import training

if TYPE_CHECKING:
    from tests.object_store import ObjectStore


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The networks of the tests are too small to share between cores, and one thread computes the same everywhere."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def library_messages() -> None:
    """What a command before did to the library's messages does not hide them from this test."""
    logger = logging.getLogger("hypir_cli")
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
    logging.captureWarnings(False)


@pytest.fixture(params=["fp32", "bf16"])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs of `tests.training` compute in this number format."""
    chosen = str(request.param)
    monkeypatch.setattr(training, "PRECISION", chosen)
    return chosen


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An S3-compatible server on loopback that URLs reach, with short waits between tries."""
    from hypir_cli.folder import urls
    from tests.object_store import object_store

    with object_store() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(urls, "FIRST_WAIT", 0.01)
        yield server
