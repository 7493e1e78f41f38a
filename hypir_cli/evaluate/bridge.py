"""The only file that knows pyiqa: its list of metrics, its weights, and how to fail fast where there is no network.

pyiqa downloads weights when a metric is made, without a time limit; here every connection has one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from hypir_cli.errors import HypirError
from hypir_cli.models.packages import package_folder
from hypir_cli.models.reach import limited_network

SET_METRICS = ("fid", "fid_dinov2", "sfid", "inception_score")
"""Metrics of a whole set rather than of an image."""
_LOCAL_WEIGHTS = {
    "stlpips": ("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth"),
}
"""Weights that a registry package carries: metric -> module, file inside."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What pyiqa says of a metric."""

    lower_better: bool
    """Which way is better."""
    needs_reference: bool
    """Whether it compares with a GT."""


def is_installed() -> bool:
    """Whether pyiqa is there."""
    return util.find_spec("pyiqa") is not None


def version() -> str:
    """Version of pyiqa."""
    return metadata.version("pyiqa")


@functools.cache
def catalogue() -> dict[str, Entry]:
    """Every metric of the installed pyiqa."""
    configs: dict[str, dict[str, Any]] = _pyiqa().DEFAULT_CONFIGS
    return {
        name: Entry(
            lower_better=bool(config.get("lower_better", False)),
            needs_reference=config.get("metric_mode") == "FR",
        )
        for name, config in configs.items()
    }


def load_metric(
    name: str, *, device: torch.device, timeout: float
) -> Callable[[Tensor, Tensor | None], float]:
    """One of pyiqa's metrics as a function of image and GT.

    Raises:
        HypirError: Its weights or a package it needs cannot be had.
    """
    network = _create(name, device=device, timeout=timeout)

    def score(restored: Tensor, partner: Tensor | None) -> float:
        with torch.no_grad(), _quiet():
            value = network(restored) if partner is None else network(restored, partner)
        return float(value)

    return score


def load_set_metric(
    name: str, *, device: torch.device, timeout: float
) -> Callable[[Sequence[Path], Sequence[Path]], float]:
    """One of pyiqa's set metrics as a function of the files restored and the GT files.

    Raises:
        HypirError: Its weights or a package it needs cannot be had.
    """
    network = _create(name, device=device, timeout=timeout)

    def score(restored: Sequence[Path], gt: Sequence[Path]) -> float:
        with tempfile.TemporaryDirectory(prefix="hypir-") as place, _quiet():
            folders = [_linked(Path(place) / "restored", restored), _linked(Path(place) / "gt", gt)]
            if name == "inception_score":
                return float(network(folders[0], verbose=False))
            return float(network(*folders, num_workers=0, verbose=False))

    return score


def _create(name: str, *, device: torch.device, timeout: float) -> Any:
    options = _local_weights(name)
    try:
        with limited_network(timeout), _quiet(), _packaging_of_old():
            from pyiqa import create_metric

            return create_metric(name, device=device, **options)
    except ImportError as error:
        module = error.name or "a package"
        raise HypirError(
            f"metric {name}: it needs {module}, which is missing.", hint=f"pip install {module}"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        text = str(error.reason if isinstance(error, URLError) else error)
        reason = next(iter(text.strip().splitlines()), type(error).__name__)
        raise HypirError(
            f"metric {name}: its weights cannot be had ({reason.rstrip('.')}).",
            hint="run once with network access so that the weights are cached, or leave the metric out",
        ) from error


def _local_weights(name: str) -> dict[str, str]:
    module, inside = _LOCAL_WEIGHTS.get(name, ("", ""))
    folder = package_folder(module) if module else None
    if folder is None:
        return {}
    path = folder / inside
    return {"pretrained_model_path": str(path)} if path.is_file() else {}


def _linked(folder: Path, files: Sequence[Path]) -> str:
    """A folder that holds just these files, under names that keep their order."""
    folder.mkdir()
    for number, path in enumerate(files):
        _place(folder / f"{number:06d}{path.suffix.lower()}", path.resolve())
    return str(folder)


def _place(name: Path, target: Path) -> None:
    """A file under another name: a link, or a copy where the system allows no links (Windows without the right to)."""
    try:
        name.symlink_to(target)
    except OSError:
        shutil.copyfile(target, name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What pyiqa prints and warns about is not for our users."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _packaging_of_old() -> Iterator[None]:
    """`pkg_resources.packaging`, which CLIP's package still imports and setuptools has dropped."""
    if util.find_spec("pkg_resources") is not None:
        yield
        return
    stand_in: Any = types.ModuleType("pkg_resources")
    stand_in.packaging = import_module("packaging")
    import_module("packaging.version")
    sys.modules["pkg_resources"] = stand_in
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]


def _pyiqa() -> Any:
    with _quiet():
        from pyiqa import default_model_configs

    return default_model_configs
