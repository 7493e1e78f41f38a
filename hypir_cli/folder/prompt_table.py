"""Tables of prompts on disk, JSON lines or Parquet, with the columns `image_path` and `prompt`.

Both grow by appended JSON lines that are flushed to disk batch by batch, so that a killed run loses at most the batch it was
at. A Parquet file is made whole from those lines at the end, and atomically; until then they stand beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from hypir_cli.config.extras import needing
from hypir_cli.config.places import is_url
from hypir_cli.errors import InputError
from hypir_cli.images import atomic_file
from hypir_cli.images.atomic import require_writable

COLUMNS = ("image_path", "prompt")


def read_prompts(path: Path) -> dict[str, str]:
    """Prompt by image path, in the table's order; of repeated images the last counts.

    Relative image paths in a table are relative to the folder of the table and come back joined to it; URLs stay.

    Raises:
        InputError: Missing, damaged, or without the two columns.
    """
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)
    return {_joined(path, row["image_path"]): row["prompt"] for row in rows}


class PromptTable:
    """A table that grows safely; what it held before stays.

    Images are named relative to the table's folder, so that both can be moved together; by their whole path where the
    two have nothing in common.

    Args:
        path: The table.
        form: How it is stored.

    Raises:
        InputError: What is there cannot be read as such a table.
    """

    def __init__(self, path: Path, *, form: Literal["jsonl", "parquet"]) -> None:
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a file.", hint=f"name a .{form} file")
        require_writable(path)
        self._path = path
        self._lines = path if form == "jsonl" else path.with_name(f".{path.name}.jsonl")
        self._rows: dict[str, dict[str, Any]] = {}
        self._stale = 0
        if form == "parquet":
            _parquet()  # a missing package is told before hours of work, not after
        if form == "parquet" and path.is_file():
            self._take(_parquet_rows(path))
        if self._lines.is_file():
            _mend(self._lines)
            self._take(_json_rows(self._lines))

    @property
    def apart(self) -> bool:
        """False: all prompts are in one file."""
        return False

    def __contains__(self, image_path: Path | str) -> bool:
        return _key(image_path) in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, prompts: Iterable[tuple[Path | str, str]]) -> None:
        """Append rows; they are on disk when this returns.

        Raises:
            InputError: The disk is full or the folder cannot be written.
        """
        rows = [
            {"image_path": _named(path, self._path.parent), "prompt": prompt}
            for path, prompt in prompts
        ]
        self._take(rows)
        _append(self._lines, rows)

    def close(self) -> None:
        """Make the file whole: one row per image, and the Parquet file from its lines.

        Raises:
            InputError: The file cannot be written; the lines stay, and the next run takes them up.
        """
        if self._lines == self._path:
            if self._stale:
                _write_lines(self._path, self._rows.values())
        elif self._lines.is_file():
            _write_parquet(self._path, self._rows.values())
            self._lines.unlink()

    def _take(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            key = _joined(self._path, row["image_path"])
            self._stale += key in self._rows
            self._rows[key] = row


def _key(image_path: Path | str) -> str:
    return str(image_path) if is_url(image_path) else os.path.abspath(image_path)


def _named(image_path: Path | str, folder: Path) -> str:
    """How a table in a folder calls an image."""
    key = _key(image_path)
    place = os.path.abspath(folder)
    if is_url(key):
        return key
    try:
        shared = os.path.commonpath([key, place])
    except ValueError:  # another drive
        return key
    if shared == os.path.dirname(shared):
        return key
    return Path(os.path.relpath(key, place)).as_posix()


def _joined(table: Path, image_path: str) -> str:
    if is_url(image_path):
        return image_path
    return os.path.abspath(table.parent / image_path)


def _json_rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}.") from error
    return [
        _json_row(line, where=f"{path} line {n}") for n, line in enumerate(lines, 1) if line.strip()
    ]


def _json_row(line: str, *, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where} is not JSON: {error}.", hint="mend or remove the line"
        ) from error
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in COLUMNS):
        raise InputError(f"{where} lacks the texts {' and '.join(COLUMNS)}.", hint="mend the line")
    return row


def _mend(path: Path) -> None:
    """Cut off the half line that a kill in the middle of a write leaves."""
    with open(path, "r+b") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)


def _append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(b"".join(_line(row) for row in rows))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}.",
            hint="free some space or choose another --out",
        ) from error


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic_file(path) as file:
        file.writelines(_line(row) for row in rows)


def _parquet() -> tuple[Any, Any]:
    with needing("Parquet tables need", extra="caption"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    pyarrow, parquet = _parquet()
    try:
        table = parquet.read_table(path, partitioning=None)
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"cannot read {path} as Parquet: {error}.") from error
    if set(table.column_names) != set(COLUMNS):
        raise InputError(
            f"{path} has the columns {', '.join(table.column_names)}, not {' and '.join(COLUMNS)}.",
            hint="choose another --out",
        )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    pyarrow, parquet = _parquet()
    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    plain = [{name: row[name] for name in COLUMNS} for row in rows]
    with atomic_file(path) as file:
        parquet.write_table(pyarrow.Table.from_pylist(plain, schema=schema), file)
