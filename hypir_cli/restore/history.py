"""With which settings the results in a folder were made, so that a later run can tell that it asks for something else."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.schema import to_dict
from hypir_cli.errors import HypirError
from hypir_cli.images import atomic_file

FILE_NAME = ".hypir-settings.json"
"""Hidden file beside the results."""
_OTHER = {
    "runtime": None,
    "output": ("format", "suffix", "existing", "compare", "report"),
    "tiles": ("size", "overlap", "batch", "max_memory"),
    "model": ("merge_lora",),
    "input": ("partial",),
}
"""Settings that do not change what a result looks like: None for the whole group."""

logger = logging.getLogger(__name__)


class History:
    """The settings of the results in one folder.

    Args:
        folder: Where results go.
        config: What this run asks for.
        part: What tells this process's file from that of others at work in the folder, empty for one alone.
    """

    def __init__(self, folder: Path, config: RestoreConfig, *, part: str = "") -> None:
        self._folder = folder
        self._file = folder / FILE_NAME.replace(".json", f"{part}.json")
        self._now = _that_matter(config)
        self._known: dict[str, Mapping[str, Any]] = {}
        for path in sorted(folder.glob(FILE_NAME.replace(".json", "*.json"))):
            self._known.update(_read(path))

    def differing(self, results: Iterable[str]) -> tuple[int, list[str]]:
        """How many of some results were made with other settings, and the settings in words."""
        count, words = 0, {}
        for result in results:
            then = self._known.get(self._name(result), self._now)
            changed = {key for key in {**then, **self._now} if then.get(key) != self._now.get(key)}
            count += bool(changed)
            for key in sorted(changed):
                words[key] = f"{key} {_shown(then.get(key))}, now {_shown(self._now.get(key))}"
        return count, list(words.values())

    def add(self, results: Iterable[str]) -> None:
        """Keep that results were made with this run's settings. A folder that takes no such file is left without."""
        added = {self._name(result): self._now for result in results}
        if not added:
            return
        mine = {**_read(self._file), **added}
        runs: list[Mapping[str, Any]] = []
        for settings in mine.values():
            if settings not in runs:
                runs.append(settings)
        content = {
            "runs": runs,
            "results": {name: runs.index(settings) for name, settings in mine.items()},
        }
        try:
            with atomic_file(self._file) as file:
                text = json.dumps(content, indent=1, ensure_ascii=False)
                file.write(text.encode("utf-8", "backslashreplace"))
        except HypirError as error:
            logger.debug("no history kept: %s", error.message)

    def _name(self, result: str) -> str:
        return Path(os.path.relpath(result, self._folder)).as_posix()


def _read(path: Path) -> dict[str, Mapping[str, Any]]:
    """Settings by result; empty where the file is missing or not ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: content["runs"][index] for name, index in content["results"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _that_matter(config: RestoreConfig) -> dict[str, Any]:
    """Dotted key -> value of every setting that changes what a result looks like, as JSON has it."""
    flat: dict[str, Any] = {}
    for group, values in to_dict(config).items():
        left_out = _OTHER.get(group, ())
        if left_out is None:
            continue
        if not isinstance(values, Mapping):
            flat[group] = values
            continue
        flat |= {f"{group}.{key}": value for key, value in values.items() if key not in left_out}
    result: dict[str, Any] = json.loads(json.dumps(flat, default=str))
    return result


def _shown(value: Any) -> str:
    return "unset" if value is None or value == "" else str(value)
