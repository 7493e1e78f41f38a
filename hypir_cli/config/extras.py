"""Optional packages: what needs them says so, and how to get them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hypir_cli.errors import ConfigError, HypirError


@contextmanager
def needing(what: str, *, extra: str, error: type[HypirError] = ConfigError) -> Iterator[None]:
    """Around imports of optional packages.

    Args:
        what: Subject and verb of the message, e.g. `manifests need`.
        extra: The extra of this package that brings them.
        error: What is raised.

    Raises:
        HypirError: One of them is not installed.
    """
    try:
        yield
    except ImportError as cause:
        package = (cause.name or "").partition(".")[0]
        raise error(
            f"{what} the package {package}.", hint=f"pip install 'hypir[{extra}]'"
        ) from cause
