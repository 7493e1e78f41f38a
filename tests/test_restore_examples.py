"""The examples of restoring run as they stand."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pictures import EXAMPLES


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("coffee", "raccoon"):
        with Image.open(EXAMPLES / "photos" / f"{name}.jpg") as picture:
            picture.crop((0, 0, 64, 48)).save(folder / f"{name}.png")
    return folder


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command that finds this interpreter's `hypir`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


@pytest.mark.slow
def test_one_image_from_python(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.png"
    done = run(sys.executable, EXAMPLES / "restore_one.py", photos / "coffee.png", target)
    assert "tile 1/1" in done.stdout, done.stderr
    with Image.open(target) as picture:
        assert picture.size == (128, 96)


@pytest.mark.slow
def test_a_collection_names_the_folders_with_failures(photos: Path, tmp_path: Path) -> None:
    collection = tmp_path / "collection"
    shutil.copytree(photos, collection / "good")
    (collection / "bad").mkdir()
    (collection / "bad" / "x.png").write_text("no picture", encoding="utf-8")
    done = run(EXAMPLES / "restore_collection.sh", collection, tmp_path / "results")
    assert done.returncode == 1
    assert "good: done" in done.stdout
    assert "failed in: bad" in done.stdout
    assert (tmp_path / "results" / "good" / "coffee.jpg").is_file()


@pytest.mark.slow
def test_every_image_gets_its_own_prompt(photos: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = run(EXAMPLES / "restore_with_prompts.sh", photos, results)
    assert done.returncode == 0, done.stderr
    report = json.loads((results / "report.json").read_text(encoding="utf-8"))
    prompts = {image["details"]["prompt"] for image in report["images"]}
    assert prompts == {"a photograph of coffee", "a photograph of raccoon"}


@pytest.mark.slow
def test_scratches_are_taken_out_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(EXAMPLES / "originals" / "raccoon.jpg") as picture:
        picture.crop((150, 100, 278, 196)).save(folder / "a.jpg", quality=95)
    done = run(EXAMPLES / "repair_scratches.sh", folder, tmp_path / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    places = [tmp_path / "work" / part / "a.png" for part in ("scratched", "masks", "repaired")]
    before, mask, after = (np.asarray(Image.open(place)).astype(int) for place in places)
    lost = mask > 127
    assert np.array_equal(before[~lost], after[~lost])
    truth = np.asarray(Image.open(folder / "a.jpg")).astype(int)
    wrong, left = (np.abs(found - truth)[lost].mean() for found in (before, after))
    assert left < 0.5 * wrong
