"""What reaches the console of what libraries say: our own warnings, and none of the others' comments on each other."""

from __future__ import annotations

import logging
import os

from hypir_cli.cli import console

_CHATTY = ("diffusers", "bitsandbytes", "torchao", "torch.utils._pytree", "transformers", "peft")
"""Libraries that comment on each other's versions when they are imported."""
_LEVELS = ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY")
"""Variables from which some of them set their own level when they are imported, over ours."""


class _ConsoleHandler(logging.Handler):
    """Warnings of the library as warning lines."""

    def emit(self, record: logging.LogRecord) -> None:
        console.print_warning(record.getMessage())


def console_logging() -> None:
    """Show the library's warnings on the console, once; with `HYPIR_DEBUG=1` also what other libraries say."""
    logger = logging.getLogger("hypir_cli")
    if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
        logger.addHandler(_ConsoleHandler(logging.WARNING))
    logger.propagate = False
    if console.debugging():
        return
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in _LEVELS:
        os.environ.setdefault(name, "error")
    # It speaks of damaged metadata in images that we report ourselves.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(logging.NullHandler())


def quiet_followers(index: int) -> None:
    """Let only the first of several processes that do the same say what they would all say."""
    if index > 0:
        logging.getLogger("hypir_cli").setLevel(logging.ERROR)
