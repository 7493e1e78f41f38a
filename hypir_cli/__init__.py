"""hypir: degraded photographs in, clean ones out, in one forward pass of a diffusion model.

The names below are the public API; each is imported when it is first asked for, so that `import hypir_cli` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypir_cli.config.restore import RestoreConfig
    from hypir_cli.errors import HypirError
    from hypir_cli.images import ImageData, read_image, write_image
    from hypir_cli.restore.engine import Engine

__version__ = "0.1.0"
__all__ = [
    "Engine",
    "HypirError",
    "ImageData",
    "RestoreConfig",
    "__version__",
    "read_image",
    "write_image",
]
_HOMES = {
    "Engine": "hypir_cli.restore.engine",
    "HypirError": "hypir_cli.errors",
    "ImageData": "hypir_cli.images",
    "RestoreConfig": "hypir_cli.config.restore",
    "read_image": "hypir_cli.images",
    "write_image": "hypir_cli.images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
