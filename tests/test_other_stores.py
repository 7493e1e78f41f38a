"""Stores beside S3: fsspec's own memory, `file://`, the web to read from, and those whose package is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder import urls
from hypir_cli.folder.listing import output_folder, plan_rows
from hypir_cli.folder.manifest import Plan
from tests.commands import contents, run
from tests.pictures import noise
from tests.web_server import WebServer, web_server


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two small pictures, names with a space, an accent and a sign that URLs escape."""
    folder = tmp_path / "photos"
    (folder / "deep er").mkdir(parents=True)
    Image.fromarray(noise(8, 10, 3, seed=1)).save(folder / "a 1%.png")
    Image.fromarray(noise(8, 10, 3, seed=2)).save(folder / "deep er" / "ç.png")
    return folder


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's store in this process's memory, empty before and after."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()
    store.pseudo_dirs[:] = [""]


@pytest.fixture
def web(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    monkeypatch.setattr(urls, "FIRST_WAIT", 0.01)
    with web_server(photos) as server:
        yield server


def measured(*arguments: object) -> Result:
    """A run that loads no model: pictures without their colour."""
    return run("solve", *arguments, "--simulate", "--task", "colorize")


@pytest.fixture
def expected(photos: Path, tmp_path: Path) -> dict[str, bytes]:
    """What the local run makes of the pictures."""
    assert measured(photos, tmp_path / "local").exit_code == 0
    return contents(tmp_path / "local")


def test_memory_is_a_store_like_any_other(
    memory: fsspec.AbstractFileSystem, photos: Path, expected: dict[str, bytes]
) -> None:
    memory.put(f"{photos}/", "/in", recursive=True)
    result = measured("memory://in", "memory://out")
    assert result.exit_code == 0, result.output
    assert "2 measured." in result.output
    made = {path.removeprefix("/out/"): memory.cat_file(path) for path in memory.find("/out")}
    assert made == expected
    assert "2 already there" in measured("memory://in", "memory://out").output
    result = run("plan", "memory://in", "memory://planned", "--manifest", "memory://list.parquet")
    assert result.exit_code == 0, result.output
    result = measured("memory://list.parquet")
    assert result.exit_code == 0, result.output
    assert memory.cat_file("/planned/a 1%.png") == expected["a 1%.png"]
    assert "2 already there" in measured("memory://list.parquet").output


def test_an_input_by_another_spelling_is_not_replaced(
    memory: fsspec.AbstractFileSystem, photos: Path
) -> None:
    memory.put(f"{photos}/", "/in", recursive=True)
    for output in ("memory://in", "memory:///in/"):
        result = measured("memory://in", output)
        assert result.exit_code == 1
        assert "would replace it" in result.output


def test_a_local_input_beside_one_by_url_is_not_replaced(
    memory: fsspec.AbstractFileSystem, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.put(f"{photos}/", "/in", recursive=True)
    monkeypatch.chdir(photos.parent)
    result = measured("photos/a 1%.png", "memory://in/deep er", "photos")
    assert result.exit_code == 1
    assert "would replace it" in result.output


def test_file_urls_are_local_paths(
    photos: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    output = tmp_path / "an other"
    result = measured(photos.as_uri(), output.as_uri())
    assert result.exit_code == 0, result.output
    assert contents(output) == expected
    place = (tmp_path / "list.parquet").as_uri()
    assert run("plan", photos.as_uri(), output.as_uri(), "--manifest", place).exit_code == 0
    assert "2 already there" in measured(place).output


def test_a_folder_on_the_web_is_read_by_its_index(
    web: WebServer, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    result = measured(web.url + "/", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "out") == expected


def test_a_picture_on_the_web_has_its_name_without_the_query(
    web: WebServer, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    address = f"{web.url}/a%201%25.png?token=a/b&size=1"
    result = measured(address, tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert contents(tmp_path / "out") == {"a 1%.png": expected["a 1%.png"]}
    assert measured(address, tmp_path / "one.png").exit_code == 0
    assert (tmp_path / "one.png").read_bytes() == expected["a 1%.png"]


def test_a_web_server_that_stumbles_is_asked_again(web: WebServer, tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def fault(path: str) -> int:
        seen[path] = seen.get(path, 0) + 1
        return 503 if seen[path] in (1, 2, 4) else 0

    web.fault = fault
    result = measured(f"{web.url}/a%201%25.png", tmp_path / "out")
    assert result.exit_code == 0, result.output
    web.fault = lambda path: 503
    result = measured(f"{web.url}/a%201%25.png", tmp_path / "other")
    assert result.exit_code == 1
    assert "503" in result.output
    web.fault = lambda path: 0
    result = measured(f"{web.url}/gone.png", tmp_path / "other")
    assert f"there is no {web.url}/gone.png" in " ".join(result.output.split())


def test_nothing_is_written_to_the_web(web: WebServer, photos: Path, tmp_path: Path) -> None:
    place = f"{web.url}/out"
    for result in (
        measured(photos, place),
        run("restore", photos, f"{place}/b.png"),
        run("plan", photos, place, "--manifest", tmp_path / "list.parquet"),
        run("plan", photos, tmp_path / "out", "--manifest", f"{place}/list.parquet"),
        measured(photos, tmp_path / "out", "--clean-dir", place),
    ):
        assert result.exit_code == 1, result.output
        assert len(result.output.strip().splitlines()) == 2, result.output
        assert "http is for reading" in result.output


@pytest.mark.parametrize(
    ("kind", "module", "package"), [("gs", "gcsfs", "gcsfs"), ("az", "adlfs", "adlfs")]
)
def test_a_missing_package_is_named(
    kind: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for arguments in (
        ("restore", f"{kind}://scans/in", tmp_path / "out"),
        ("solve", f"{kind}://scans/in", tmp_path / "out", "--task", "colorize"),
        ("plan", f"{kind}://scans/in", f"{kind}://scans/out"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        first, second = result.output.strip().splitlines()
        assert first.startswith(f"Error: {kind}:// needs a package that is not installed")
        assert second == f"Hint: pip install {package}"


def test_an_unknown_kind_of_url_is_told_the_known_ones(tmp_path: Path) -> None:
    result = run("restore", "carrier-pigeon://loft", tmp_path / "out")
    first, second = result.output.strip().splitlines()
    assert "carrier-pigeon://loft" in first
    assert "s3://" in second


def test_a_store_that_cannot_be_reached_is_an_error_of_two_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(urls, "ATTEMPTS", 1)
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    result = run("restore", "s3://nowhere/in", tmp_path / "out")
    first, second = result.output.strip().splitlines()
    assert first.startswith("Error: cannot look at s3://nowhere/in")
    assert second.startswith("Hint: ")
    S3FileSystem.clear_instance_cache()


def test_a_plan_with_a_relative_output_serves_from_any_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plan", "photos", "out", "--manifest", "list.parquet").exit_code == 0
    assert measured("list.parquet").exit_code == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert "2 already there" in measured(tmp_path / "list.parquet").output
    assert not list(elsewhere.iterdir())


def test_links_out_of_a_web_folder_are_not_followed(
    web: WebServer, photos: Path, tmp_path: Path
) -> None:
    (photos / "deep er" / "index.html").write_text(
        f'<a href="../">up</a> <a href="{web.url}/">home</a> <a href="%C3%A7.png">one</a>',
        encoding="utf-8",
    )
    plan = Plan(output=str(tmp_path / "out"), samples=1)
    rows = list(plan_rows([f"{web.url}/deep%20er"], plan.output, plan=plan))
    assert [row.relative for row in rows] == ["ç.png"]
    assert rows[0].output_urls == (f"{tmp_path}/out/ç.png",)


def test_a_folder_name_is_no_file(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a file name"):
        output_folder(["memory://in"], "memory://out/a.png")
    with pytest.raises(InputError):
        urls.entry("memory://none")
    assert np.asarray(Image.open(photos / "a 1%.png")).shape == (8, 10, 3)
