"""`hypir solve` on a store: pictures, masks, kernels and manifests by URL, with the bytes of a local run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.builders import save_tiny
from tests.commands import contents, run
from tests.object_store import BUCKET, ObjectStore
from tests.pictures import noise

ROOT = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random prior."""
    return save_tiny(tmp_path_factory.mktemp("prior"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures and their masks, in the same tree."""
    for place, seed in (("a.png", 1), ("deep er/ç.jpg", 2)):
        path = tmp_path / "in" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(24, 32, 3, seed=seed)).save(path)
        mask = tmp_path / "masks" / Path(place).with_suffix(".png")
        mask.parent.mkdir(parents=True, exist_ok=True)
        lost = Image.new("L", (32, 24))
        lost.paste(255, (4, 4, 9, 20))
        lost.save(mask)
    return tmp_path / "in"


def solve(prior: Path, *arguments: object) -> Result:
    few = ("--steps", 2, "--device", "cpu", "--dtype", "fp32", "--base", prior)
    return run("solve", *arguments, *few)


def test_pictures_and_masks_in_a_store_give_the_bytes_of_a_local_run(
    store: ObjectStore, photos: Path, prior: Path, tmp_path: Path
) -> None:
    result = solve(prior, photos, tmp_path / "out", "--mask", tmp_path / "masks")
    assert result.exit_code == 0, result.output
    expected = contents(tmp_path / "out", "*")
    assert set(expected) == {"a.png", "deep er/ç.png"}, "what keeps pixels is no JPEG"
    source = store.put_folder(photos, "in")
    masks = store.put_folder(tmp_path / "masks", "masks")
    result = solve(prior, source, f"{ROOT}/out", "--mask", masks)
    assert result.exit_code == 0, result.output
    assert "2 solved." in result.output
    assert store.content("out") == expected
    again = solve(prior, source, f"{ROOT}/out", "--mask", masks)
    assert "0 solved, 2 already there" in again.output
    assert set(store.count("PUT", "out").values()) == {1}


def test_one_mask_by_url_serves_all_and_is_fetched_once(
    store: ObjectStore, photos: Path, prior: Path, tmp_path: Path
) -> None:
    mask = store.put("scratch.png", (tmp_path / "masks" / "a.png").read_bytes())
    result = solve(prior, photos, tmp_path / "out", "--mask", mask)
    assert result.exit_code == 0, result.output
    assert store.requests["GET", f"/{BUCKET}/scratch.png"] == 1


def test_a_mask_that_does_not_fit_is_named_by_its_url(
    store: ObjectStore, photos: Path, prior: Path, tmp_path: Path
) -> None:
    (tmp_path / "masks" / "deep er" / "ç.png").unlink()
    Image.new("L", (5, 5)).save(tmp_path / "masks" / "a.png")
    masks = store.put_folder(tmp_path / "masks", "masks")
    result = solve(prior, photos, tmp_path / "out", "--mask", masks)
    assert result.exit_code == 1
    words = " ".join(result.output.split())
    assert f"the mask {masks}/a.png has 5 x 5 pixels" in words
    assert f"add {masks}/deep er/ç.png" in words
    store.put("masks/a.png", b"no picture")
    result = solve(prior, photos / "a.png", tmp_path / "out", "--mask", masks)
    assert f"{masks}/a.png" in result.output
    assert "hypir-copy" not in result.output
    result = solve(prior, photos, tmp_path / "out", "--mask", f"{ROOT}/no-masks")
    assert f"there is no {ROOT}/no-masks" in result.output


def test_a_kernel_by_url_is_the_kernel(
    store: ObjectStore, photos: Path, prior: Path, tmp_path: Path
) -> None:
    for name, values in (("psf.npy", np.eye(3)), ("none.npy", np.zeros((3, 3)))):
        np.save(tmp_path / name, values)
        store.put(name, (tmp_path / name).read_bytes())
    for place in (tmp_path / "psf.npy", f"{ROOT}/psf.npy"):
        output = tmp_path / place.__class__.__name__
        result = solve(prior, photos, output, "--task", "kernel", "--kernel", place)
        assert result.exit_code == 0, result.output
    assert contents(tmp_path / "str", "*") == contents(tmp_path / "PosixPath", "*")
    result = solve(prior, photos, output, "--task", "kernel", "--kernel", f"{ROOT}/none.npy")
    assert f"the kernel {ROOT}/none.npy sums to 0" in " ".join(result.output.split())


def test_measurements_and_their_clean_partners_go_to_a_store(
    store: ObjectStore, photos: Path, tmp_path: Path
) -> None:
    shrink = ("--simulate", "--task", "super-resolution", "--factor", 5)
    result = run("solve", photos, tmp_path / "y", *shrink, "--clean-dir", tmp_path / "gt")
    assert result.exit_code == 0, result.output
    source = store.put_folder(photos, "in")
    result = run("solve", source, f"{ROOT}/y", *shrink, "--clean-dir", f"{ROOT}/gt")
    assert result.exit_code == 0, result.output
    assert store.content("y") == contents(tmp_path / "y", "*")
    assert store.content("gt") == contents(tmp_path / "gt", "*")


def test_a_manifest_is_solved_by_shards_and_a_broken_picture_is_taken_up_again(
    store: ObjectStore, photos: Path, prior: Path, tmp_path: Path
) -> None:
    source = store.put_folder(photos, "in")
    good = (photos / "a.png").read_bytes()
    store.put("in/a.png", good[:60] + bytes(len(good) - 60))
    manifest, masks = f"{ROOT}/list.parquet", tmp_path / "masks"
    plan = ("plan", source, f"{ROOT}/out", "--manifest", manifest, "--shards-of", 1)
    assert run(*plan).exit_code == 0
    refused = solve(prior, manifest, "--mask", masks)
    assert "may lose a little" in refused.output
    assert "--lossless" in refused.output
    assert run(*plan, "--lossless").exit_code == 0
    report = tmp_path / "report.json"
    result = solve(prior, manifest, "--mask", masks, "--report", report)
    assert result.exit_code == 1
    assert "1 solved, 1 failed" in result.output
    assert json.loads(report.read_text())["summary"]["failed"] == 1
    assert set(store.content("out")) == {"deep er/ç.png"}
    store.put("in/a.png", good)
    result = solve(prior, manifest, "--mask", masks)
    assert "1 solved, 1 already there" in result.output
    parts = [solve(prior, manifest, "--mask", masks, "--shard", f"{n}/2") for n in (1, 2)]
    assert all("1 already there" in part.output for part in parts)
    assert set(store.count("PUT", "out").values()) == {1}
    refused = solve(prior, manifest, "--mask", masks, "--samples", 2)
    assert "planned with samples 1, not 2" in refused.output


def test_a_launcher_gives_each_process_its_part_and_the_first_reports(
    photos: Path, prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    for task in range(2):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        result = solve(prior, photos, tmp_path / "out", "--box", 5)
        assert f"Slurm array: this process takes part {task + 1} of 2" in result.output
        assert "1 solved." in result.output


def test_explaining_needs_pictures_that_are_here(tmp_path: Path) -> None:
    for paths in (("s3://x/in", tmp_path / "out"), (tmp_path / "list.parquet",)):
        result = run("solve", *paths, "--task", "colorize", "--explain")
        assert result.exit_code == 1
        assert "pictures of this machine" in result.output


def test_a_shard_of_a_manifest_says_what_was_done(
    photos: Path, prior: Path, tmp_path: Path
) -> None:
    place = tmp_path / "list.parquet"
    assert run("plan", photos, tmp_path / "out", "--manifest", place).exit_code == 0
    result = solve(prior, place, "--task", "colorize")
    assert "shard 0: 2 solved, 0 already there, 0 failed" in result.output
