"""How figures came about: settings, versions, commit, date. Kept with them, for without it they do not compare."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import hypir_cli
from hypir_cli.config.evaluate import EvaluateConfig, protocol_values
from hypir_cli.config.schema import resolve, to_dict

_PACKAGES = ("torch", "numpy", "pillow", "pyiqa", "torchvision", "stlpips-pytorch")


def provenance(config: EvaluateConfig) -> dict[str, object]:
    """Where the figures come from, ready for JSON."""
    return {
        "hypir": hypir_cli.__version__,
        "commit": commit(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "protocol": protocol_label(config),
        "settings": to_dict(config),
    }


def protocol_label(config: EvaluateConfig) -> str:
    """Name of the protocol, with what was changed in it; `custom` without one."""
    if not config.protocol:
        return "custom"
    preset = resolve(EvaluateConfig, layers=[(config.protocol, protocol_values(config.protocol))])
    changed = [
        name
        for name, given in {"metrics": config.metrics, **vars(config.measure)}.items()
        if given != {"metrics": preset.metrics, **vars(preset.measure)}[name]
    ]
    return f"{config.protocol}, changed: {', '.join(changed)}" if changed else config.protocol


def commit() -> str | None:
    """Commit of the checkout hypir runs from, with `+` where files differ from it; None outside of one."""
    root = Path(hypir_cli.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "HEAD")
    if not head:
        return None
    return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
