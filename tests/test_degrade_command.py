"""`hypir degrade`: folders in, degraded folders and their record out."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config.degradation import DegradationConfig, degradation_config
from hypir_cli.config.schema import resolve
from hypir_cli.errors import InputError
from hypir_cli.train.data.photos import read_photo
from hypir_cli.train.degradation.folder import degrade_folder, output_names

runner = CliRunner()


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    folder = tmp_path / "clean"
    rng = np.random.default_rng(0)
    for name in ("a.png", "a.jpg", "deep/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(folder / name)
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = runner.invoke(app, ["degrade", *map(str, arguments)])
    return result.exit_code, result.output


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.png")
    }


def test_a_folder_keeps_its_tree_and_gets_a_record_of_every_draw(
    clean: Path, tmp_path: Path
) -> None:
    code, output = run(clean, tmp_path / "lq", "--seed", 4, "--set", "scale=2")
    assert code == 0, output
    assert sorted(contents(tmp_path / "lq")) == ["a.jpg.png", "a.png.png", "deep/b.png"]
    record = json.loads((tmp_path / "lq" / "degradation.json").read_text(encoding="utf-8"))
    assert (record["preset"], record["seed"], record["settings"]["scale"]) == ("realesrgan", 4, 2)
    entry = record["files"]["deep/b.png"]
    assert entry["source"] == "deep/b.png"
    assert 30 <= entry["parameters"]["first"]["jpeg"]["quality"] <= 95
    assert read_photo(tmp_path / "lq" / "deep" / "b.png", name="").shape == (40, 52, 3)


def test_any_exception_is_its_images_failure(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hypir_cli.train.degradation import folder

    for step, error in (("_degrade", IndexError("a bug")), ("write_image", InputError("full"))):
        real, calls = getattr(folder, step), []

        def broken(*arguments: Any, real=real, calls=calls, error=error) -> Any:  # type: ignore[no-untyped-def]
            calls.append(arguments)
            if len(calls) == 2:
                raise error
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(folder, step, broken)
            code, output = run(clean, tmp_path / step)
        assert code == 1
        assert "2 degraded, 1 failed" in output
        assert "Failed: a.png: " in output
        record = json.loads((tmp_path / step / "degradation.json").read_text(encoding="utf-8"))
        assert str(error) in record["failed"]["a.png"]


def test_a_folder_that_cannot_be_listed_is_named_and_the_rest_degraded(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if Path(os.fsdecode(path)).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    code, output = run(clean, tmp_path / "lq")
    assert code == 1
    assert "Failed: deep: Permission denied" in output
    assert "2 degraded, 1 failed" in output


def test_a_place_that_cannot_be_written_is_known_before_the_work(
    clean: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    code, output = run(clean, tmp_path / "file")
    assert code == 1
    assert "cannot write" in output
    assert "a.png\n" not in output


def test_the_same_seed_gives_the_same_bytes_whatever_else_is_there(
    clean: Path, tmp_path: Path
) -> None:
    run(clean, tmp_path / "one", "--preset", "photo-print")
    (clean / "a.jpg").unlink()
    run(clean, tmp_path / "two", "--preset", "photo-print")
    run(clean, tmp_path / "other", "--preset", "photo-print", "--seed", 1)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one["deep/b.png"] == two["deep/b.png"] != other["deep/b.png"]
    assert one["a.png.png"] == two["a.png"]


def test_the_number_of_threads_changes_no_byte_and_is_left_as_it_was(
    clean: Path, tmp_path: Path
) -> None:
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            run(clean, tmp_path / str(threads))
            assert torch.get_num_threads() == threads
            results.append(contents(tmp_path / str(threads)))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]


def test_small_results_and_settings_files(clean: Path, tmp_path: Path) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text("scale: 3\nfirst: {noise: {probability: 0}}\n", encoding="utf-8")
    code, output = run(clean, tmp_path / "lq", "--config", settings, "--keep-small")
    assert code == 0, output
    assert read_photo(tmp_path / "lq" / "deep" / "b.png", name="").shape == (13, 17, 3)


def test_a_broken_image_is_named_and_the_rest_is_done(clean: Path, tmp_path: Path) -> None:
    (clean / "broken.png").write_bytes(b"nothing")
    code, output = run(clean, tmp_path / "lq")
    assert code == 1
    assert "broken.png" in output
    assert len(contents(tmp_path / "lq")) == 3
    record = json.loads((tmp_path / "lq" / "degradation.json").read_text(encoding="utf-8"))
    assert list(record["failed"]) == ["broken.png"]


def test_an_output_inside_the_input_is_not_degraded_again(clean: Path) -> None:
    for _ in range(2):
        assert run(clean, clean / "lq")[0] == 0
    assert len(contents(clean / "lq")) == 3


def test_one_image_is_an_input_too(clean: Path, tmp_path: Path) -> None:
    assert run(clean / "deep" / "b.png", tmp_path / "lq", "--preset", "light")[0] == 0
    assert list(contents(tmp_path / "lq")) == ["b.png"]


def test_what_cannot_be_done_is_said_in_two_lines(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, named in (
        ((tmp_path / "empty", tmp_path / "lq"), "no images"),
        ((clean, clean), "overwritten"),
        ((clean, tmp_path / "lq", "--preset", "heavy"), "heavy"),
        ((clean, tmp_path / "lq", "--set", "first.blurr.sigma=3"), "first.blurr"),
    ):
        code, output = run(*arguments)
        assert code == 1
        assert named in output
        assert len(output.strip().splitlines()) == 2
    assert run(clean)[0] == 2


def test_the_printed_settings_say_what_they_mean_and_read_back_as_they_were() -> None:
    code, output = run("--print-config", "--preset", "light")
    assert code == 0
    assert "# Final size is the input's divided by this" in output
    printed = yaml.safe_load(output)
    assert resolve(DegradationConfig, layers=[("printed", printed)]) == degradation_config("light")


def test_names_never_meet() -> None:
    files = [PurePath(name) for name in ("a.jpg", "a.png", "a.jpg.png", "b.tif")]
    names = output_names(files)
    assert len(set(names)) == 4
    assert names[3] == "b.png"


def test_a_single_file_onto_its_own_folder_is_refused(clean: Path) -> None:
    with pytest.raises(InputError, match="overwritten"):
        degrade_folder(
            clean / "a.png", clean, config=degradation_config(), preset="realesrgan", seed=0
        )
