"""Difficult folders, full disks, read-only outputs, interrupts and kills: good images come out, whole and once."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypir_cli.folder import Restored, make_jobs, run_folder
from hypir_cli.images import ImageData, read_image
from hypir_cli.restore.history import FILE_NAME
from tests.pictures import gradient, noise, robust_folder

ROOT = Path(__file__).parent.parent
SMALL_DISK_BYTES = 256 * 1024
PATIENCE = 120
"""Seconds to wait for a process before calling it stuck."""


def _identity(image: ImageData, job: object) -> Restored:
    return Restored(samples=[image.pixels])


def _mount(folder: Path, *options: str) -> bool:
    """Mount a small disk in memory, where this user and system allow it."""
    command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _can_mount() -> bool:
    if os.name != "posix" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        if not _mount(Path(folder), "-o", "size=64k"):
            return False
        subprocess.run(["umount", folder], check=True)
    return True


MOUNTS = ["tmpfs"] if _can_mount() else []


@contextlib.contextmanager
def _file_size_limit() -> Iterator[None]:
    """Writing past the limit fails as it does on a full disk, for any user."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    """A disk of `SMALL_DISK_BYTES` at a folder."""
    folder.mkdir()
    assert _mount(folder, "-o", f"size={SMALL_DISK_BYTES}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def _unwritable(folder: Path, way: str) -> Iterator[Path]:
    """A folder that cannot be written: below a file, by its mode, or on a read-only disk."""
    if way == "below a file":
        folder.write_bytes(b"")
        yield folder / "out"
    elif way == "mode":
        folder.mkdir(mode=0o500)
        yield folder
    else:
        folder.mkdir()
        assert _mount(folder, "-o", "ro")
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def _names(folder: Path) -> set[str]:
    """Files in a folder, but for the settings that a run notes beside its results."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)) for path in files if path.name != FILE_NAME}


def test_a_difficult_folder_gives_every_good_image_and_names_every_bad_one(tmp_path: Path) -> None:
    good, bad = robust_folder(tmp_path / "in")
    jobs = make_jobs([tmp_path / "in"], tmp_path / "out")
    report = run_folder(jobs, _identity)
    failed = {Path(record.input).name: record for record in report.failed}
    assert set(failed) == bad
    assert all(name in record.reason and record.hint for name, record in failed.items())
    expected = {name.replace(".gif", ".png") for name in good}
    assert _names(tmp_path / "out") == expected
    again = run_folder(make_jobs([tmp_path / "in"], tmp_path / "out"), _identity)
    assert (again.count("skipped"), again.count("failed")) == (len(good), len(bad))
    _check_results(tmp_path / "in", tmp_path / "out")


def _check_results(inputs: Path, outputs: Path) -> None:
    """What the difficult images must look like after an identity restoration."""
    assert read_image(outputs / "rotated.jpg").pixels.shape == (32, 24, 3)
    assert read_image(outputs / "strip.png").pixels.shape == (8, 30000, 3)
    assert np.array_equal(
        read_image(outputs / "grey16.tif").pixels[:, :, 0], noise(20, 30, dtype=np.uint16)
    )
    assert np.array_equal(read_image(outputs / "one pixel.png").pixels, gradient(24, 32)[:1, :1])
    palette = read_image(outputs / "palette.png")
    assert palette.alpha is not None
    assert np.array_equal(palette.alpha, read_image(inputs / "palette.png").alpha)
    with Image.open(outputs / "cmyk.jpg") as image:
        assert image.mode == "RGB"


@pytest.mark.parametrize("way", ["file size limit", *MOUNTS])
def test_a_full_disk_fails_what_does_not_fit_and_a_rerun_does_only_that(
    tmp_path: Path, way: str
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(gradient(16, 16)).save(tmp_path / "in" / "1 small.png")
    Image.fromarray(noise(400, 400, 3)).save(tmp_path / "in" / "2 large.png")
    Image.fromarray(gradient(16, 16)).save(tmp_path / "in" / "3 small.png")
    out = tmp_path / "out"
    jobs = make_jobs([tmp_path / "in"], out)
    with _small_disk(out) if way == "tmpfs" else _file_size_limit():
        report = run_folder(jobs, _identity)
        assert [record.status for record in report.records] == ["done", "failed", "done"]
        assert "2 large.png" in report.failed[0].reason
        assert {"tmpfs": "space", "file size limit": "limit"}[way] in report.failed[0].hint
        assert sorted(os.listdir(out)) == ["1 small.png", "3 small.png"]
        again = run_folder(jobs, _identity)
        assert [record.status for record in again.records] == ["skipped", "failed", "skipped"]


@pytest.mark.parametrize("way", ["below a file", *(["mode"] if os.geteuid() else []), *MOUNTS])
def test_an_unwritable_output_is_named_before_anything_is_computed(
    tmp_path: Path, way: str
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(gradient(16, 16)).save(tmp_path / "in" / "a.png")
    computed: list[object] = []

    def restore(image: ImageData, job: object) -> Restored:
        computed.append(job)
        return _identity(image, job)

    with _unwritable(tmp_path / "locked", way) as out:
        report = run_folder(make_jobs([tmp_path / "in"], out), restore)
    assert report.count("failed") == 1
    assert str(out) in report.failed[0].reason
    assert "another output folder" in report.failed[0].hint
    assert computed == []


SCRIPT = """
import os, signal, sys, time
from hypir_cli.config.launcher import detect_launch
from hypir_cli.folder import Restored, Shard, run_folder, make_jobs

signal.signal(signal.SIGINT, signal.default_int_handler)

def restore(image, job):
    with open(sys.argv[3], "a") as log:
        log.write(job.input_path.name + "\\n")
    time.sleep(float(sys.argv[4]))
    return Restored(samples=[image.pixels])

try:
    launch = detect_launch(os.environ)
    shard = Shard(launch.index, launch.count)
    run_folder(make_jobs([sys.argv[1]], sys.argv[2]), restore, shard=shard)
except KeyboardInterrupt:
    sys.exit(130)
"""


@contextlib.contextmanager
def _process(tmp_path: Path, *, pause: float, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real process that restores tmp_path/in into tmp_path/out and logs what it computes."""
    arguments = [tmp_path / "in", tmp_path / "out", tmp_path / "log", pause]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environ},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _noisy_folder(folder: Path, count: int) -> None:
    """Images whose PNG takes long enough to write that a kill can fall into it."""
    folder.mkdir()
    for index in range(count):
        pixels = noise(700, 900, 3, seed=index)
        Image.fromarray(pixels).save(folder / f"{index}.bmp")


def _wait_for_results(folder: Path, count: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while not folder.is_dir() or len(list(folder.glob("*.png"))) < count:
        assert time.monotonic() < deadline, "no result in time"
        time.sleep(0.01)


def _computed(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().split()


def test_a_killed_run_leaves_only_whole_files_and_a_rerun_finishes_the_rest(tmp_path: Path) -> None:
    _noisy_folder(tmp_path / "in", 8)
    with _process(tmp_path, pause=0.05) as process:
        _wait_for_results(tmp_path / "out", 2)
        process.kill()
        assert process.wait(PATIENCE) == -signal.SIGKILL
    finished = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert 2 <= len(finished) < 8
    for name in finished:
        expected = noise(700, 900, 3, seed=int(Path(name).stem))
        assert np.array_equal(read_image(tmp_path / "out" / name).pixels, expected)
    (tmp_path / "log").unlink()
    with _process(tmp_path, pause=0) as process:
        assert process.wait(PATIENCE) == 0
    redone = {Path(name).stem for name in _computed(tmp_path)}
    assert redone == {str(index) for index in range(8)} - {Path(name).stem for name in finished}
    assert len(_computed(tmp_path)) == len(redone)
    assert sorted(_names(tmp_path / "out")) == [f"{index}.png" for index in range(8)]


def test_ctrl_c_ends_with_130_and_whole_files(tmp_path: Path) -> None:
    _noisy_folder(tmp_path / "in", 8)
    with _process(tmp_path, pause=0.3) as process:
        _wait_for_results(tmp_path / "out", 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    names = _names(tmp_path / "out")
    assert 1 <= len(names) < 8
    assert all(read_image(tmp_path / "out" / name).pixels.size for name in names)


def test_two_processes_of_a_launcher_share_the_work(tmp_path: Path) -> None:
    _noisy_folder(tmp_path / "in", 5)
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    with (
        _process(tmp_path, pause=0, RANK="0", **meeting) as first,
        _process(tmp_path, pause=0, RANK="1", **meeting) as second,
    ):
        assert (first.wait(PATIENCE), second.wait(PATIENCE)) == (0, 0)
    assert sorted(_computed(tmp_path)) == [f"{index}.bmp" for index in range(5)]
    assert sorted(_names(tmp_path / "out")) == [f"{index}.png" for index in range(5)]
