"""What every test needs: one thread."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The networks of the tests are too small to share between cores, and one thread computes the same everywhere."""
    torch.set_num_threads(1)
