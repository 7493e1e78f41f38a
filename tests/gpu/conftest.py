"""Where the tests run: every `place` is the CPU and, where there is one, the GPU."""

from __future__ import annotations

import pytest
import torch

from tests.builders import BUILDERS

EVERYWHERE = ("tiny",)
"""Backbones that the CPU runs in the short tests too; the others are slow there."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Cases of `name` and `place`: every backbone on every device."""
    if "place" not in metafunc.fixturenames:
        return
    places = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if "name" not in metafunc.fixturenames:
        metafunc.parametrize("place", [_case((place,), "tiny") for place in places])
        return
    names = sorted(BUILDERS)
    cases = [_case((name, place), name) for place in places for name in names]
    metafunc.parametrize(("name", "place"), cases)


def _case(values: tuple[str, ...], name: str) -> object:
    if values[-1] == "cuda":
        return pytest.param(*values, marks=pytest.mark.gpu)
    return pytest.param(*values, marks=() if name in EVERYWHERE else pytest.mark.slow)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A tiny random model of every backbone, on disk."""
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in BUILDERS.items()}
