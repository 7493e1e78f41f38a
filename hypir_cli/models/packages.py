"""Where Python packages that bring weights are installed; they are read as folders, not imported."""

from __future__ import annotations

from importlib import util
from pathlib import Path


def package_folder(package: str) -> Path | None:
    """Folder of an installed package by its name on the index; None where it is not installed."""
    spec = util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))
