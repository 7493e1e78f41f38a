"""What every test needs: one thread; and number formats for tests of training."""

from __future__ import annotations

import logging

import pytest
import torch

from tests import training


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
