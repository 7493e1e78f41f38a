"""Which files the page may touch: those below the folders that the user named at the start, and what was dropped on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hypir_cli.errors import InputError


class Access:
    """The folders that were named.

    Args:
        folders: Existing folders; links are followed before comparing.

    Raises on construction:
        InputError: One is missing.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        missing = [folder for folder in folders if not folder.is_dir()]
        if missing:
            raise InputError(
                f"the folder {missing[0]} does not exist.", hint="name folders that are there"
            )
        self.roots = tuple(folder.resolve() for folder in folders)

    def path(self, text: str) -> Path:
        """The path a user typed, below one of the folders; relative ones count from the first.

        Raises:
            InputError: Nothing was typed, or it lies elsewhere.
        """
        typed = text.strip().strip("\"'")
        if not typed or "\0" in typed:
            raise InputError("no path is given.", hint=f"type one below {self.roots[0]}")
        try:
            path = (self.roots[0] / Path(typed).expanduser()).resolve()
        except (OSError, RuntimeError) as error:
            raise InputError(f"{typed} is no path: {error}.") from error
        if not self.allows(path):
            raise InputError(
                f"{path} lies outside the folders this page may use: "
                f"{', '.join(map(str, self.roots))}.",
                hint=f"start it with that folder: hypir ui {path.parent}",
            )
        return path

    def allows(self, path: Path) -> bool:
        """Whether a path lies below one of the folders, links followed."""
        real = path.resolve()
        return any(real.is_relative_to(root) for root in self.roots)

    def existing(self, text: str) -> Path:
        """A path a user typed that must be there.

        Raises:
            InputError: It lies elsewhere, or does not exist.
        """
        path = self.path(text)
        if not path.exists():
            raise InputError(f"{path} does not exist.", hint="check the spelling")
        return path

    def weights(self, text: str) -> str:
        """A file of weights that a user typed: below one of the folders, or `owner/repository:file` on the hub; empty is none.

        Raises:
            InputError: It lies elsewhere, or does not exist.
        """
        typed = text.strip()
        if not typed or (_HUB_FILE.fullmatch(typed) and not Path(typed).exists()):
            return typed
        return str(self.existing(typed))


_HUB_FILE = re.compile(r"[\w.-]+/[\w.-]+:[^:]+")
