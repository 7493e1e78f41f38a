"""Whatever happens to one image is that image's failure, from a side of one pixel to a signal in the middle of a run."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.errors import InputError
from hypir_cli.folder import Job, Restored, find_images, make_jobs, run_folder
from hypir_cli.folder.names import NAME_BYTES
from hypir_cli.images import ImageData, read_image
from hypir_cli.pixels.texture import TexturePredictor, texture_richness
from hypir_cli.restore.engine import predict_texture
from hypir_cli.restore.restorer import Restorer, native_limits
from hypir_cli.restore.tile_pass import Request
from tests.builders import BUILDERS, load_built
from tests.pictures import gradient, noise
from tests.test_folder_robustness import _noisy_folder, _wait_for_results

SIZES = [(1, 1), (1, 2), (2, 1), (1, 17), (3, 2), (2, 33), (5, 5), (31, 1)]


def _identity(image: ImageData, job: Job) -> Restored:
    return Restored(samples=[image.pixels])


def _folder(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.fromarray(gradient(8, 9)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    "error", [RuntimeError("boom"), IndexError(), MemoryError("12 GB"), KeyError("x"), OSError(5)]
)
def test_any_exception_of_the_restoration_is_its_images_failure(
    tmp_path: Path, error: Exception
) -> None:
    def restore(image: ImageData, job: Job) -> Restored:
        if job.input_path.name == "1.png":
            raise error
        return _identity(image, job)

    jobs = make_jobs([_folder(tmp_path / "in", 3)], tmp_path / "out")
    report = run_folder(jobs, restore, report_path=tmp_path / "r.json")
    assert [record.status for record in report.records] == ["done", "failed", "done"]
    (failed,) = report.failed
    assert "1.png" in failed.reason
    assert type(error).__name__ in failed.reason
    assert f"{type(error).__name__}" in failed.traceback
    assert "restore" in failed.traceback
    assert json.loads((tmp_path / "r.json").read_text())["images"][1]["traceback"]


@pytest.mark.parametrize("step", ["read_image", "save_samples", "image_size"])
def test_any_exception_of_reading_and_writing_is_its_images_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from hypir_cli.folder import pipeline

    real, calls = getattr(pipeline, step), []

    def broken(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise ZeroDivisionError("a decoder's bug")
        return real(*arguments, **options)

    monkeypatch.setattr(pipeline, step, broken)
    jobs = make_jobs([_folder(tmp_path / "in", 3)], tmp_path / "out")
    report = run_folder(jobs, _identity, num_jobs=1)
    expected = 0 if step == "image_size" else 1  # without a size, reading decides
    assert len(report.failed) == expected
    assert all("ZeroDivisionError: a decoder's bug" in record.reason for record in report.failed)
    assert report.count("done") == 3 - expected


@pytest.mark.parametrize("name", sorted(BUILDERS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_size_restores_on_every_backbone(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    BUILDERS[name](tmp_path)
    backbone = load_built(name, tmp_path)
    for module in backbone.components().values():
        module.to(dtype)
    traits = backbone.traits
    restorer = Restorer(backbone, limits=native_limits(backbone))
    request = Request(
        prompt=backbone.encode_prompts([""]),
        timestep=traits.timestep,
        coeff_timestep=traits.coeff_timestep,
    )
    for size in SIZES:
        for factor in (1, 3):
            wanted = (factor * size[0], factor * size[1])
            result = restorer.restore(noise(*size, 3), request=request, out_size=wanted)
            assert result.shape == (*wanted, 3)


@pytest.mark.parametrize("size", SIZES)
def test_texture_of_every_size_is_predicted(size: tuple[int, int]) -> None:
    pixels = noise(*size, 3)
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255.0
    assert torch.isfinite(texture_richness(image)).all()
    value = predict_texture(TexturePredictor(), ImageData(pixels=pixels), size=size)
    assert np.isfinite(value)


def test_a_folder_of_tiny_images_is_restored_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for height, width in SIZES:
        Image.fromarray(noise(height, width, 3)).save(tmp_path / "in" / f"{height}x{width}.png")
    result = CliRunner().invoke(app, ["restore", str(tmp_path / "in"), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    for height, width in SIZES:
        restored = read_image(tmp_path / "out" / f"{height}x{width}.png")
        assert restored.pixels.shape == (height, width, 3)


def test_a_tiff_without_pixels_is_named(tmp_path: Path) -> None:
    import tifffile

    for name, shape in (("wide", (0, 4, 3)), ("tall", (4, 0, 3))):
        with pytest.warns(UserWarning, match="zero-size"):
            tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros(shape, np.uint16), metadata=None)
        with pytest.raises(InputError, match=f"{name}.tif"):
            read_image(tmp_path / f"{name}.tif")


def _unlistable(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A folder that nobody may list, for root too."""
    real = os.listdir

    def listdir(path: object = ".") -> list[str]:
        if Path(str(path)) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "listdir", listdir)


def test_an_unreadable_folder_is_named_and_the_rest_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = _folder(tmp_path / "in", 2)
    (inputs / "locked").mkdir()
    Image.fromarray(gradient(4, 4)).save(inputs / "locked" / "x.png")
    _unlistable(monkeypatch, inputs / "locked")
    result = CliRunner().invoke(app, ["restore", str(inputs), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"{inputs / 'locked'}: Permission denied" in result.output
    assert "2 restored, 1 failed" in result.output
    assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*")) == ["0.png", "1.png"]


def test_only_an_unreadable_folder_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = _folder(tmp_path / "in", 1)
    _unlistable(monkeypatch, inputs)
    with pytest.raises(InputError, match="Permission denied"):
        find_images([inputs])


def _deep_tree(root: Path) -> None:
    """Folders nested until the path of the innermost is longer than a system call takes."""
    before = os.getcwd()
    os.chdir(root)
    try:
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        Image.fromarray(gradient(4, 4)).save("deep.png")
    finally:
        os.chdir(before)


def test_a_path_longer_than_the_system_takes_is_named_and_the_rest_is_restored(
    tmp_path: Path,
) -> None:
    inputs = _folder(tmp_path / "in", 1)
    _deep_tree(inputs)
    found = find_images([inputs])
    assert [item.path.name for item in found.images] == ["0.png"]
    assert [item.reason for item in found.unreadable] == ["File name too long"]
    with pytest.raises(InputError, match="too long"):
        find_images([tmp_path / ("x" * 300)])


def test_a_name_without_room_for_its_suffix_is_cut_and_stays_distinct(tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    for last in "ab":
        name = "é" * 125 + last + ".png"
        Image.fromarray(gradient(4, 4)).save(inputs / name)
    jobs = make_jobs([inputs], tmp_path / "out", suffix="_restored")
    report = run_folder(jobs, _identity, compare=True)
    assert report.count("done") == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 4
    assert all(len(os.fsencode(name)) <= NAME_BYTES for name in names)
    assert run_folder(jobs, _identity).count("skipped") == 2


def test_any_name_is_restored_and_takes_one_line_of_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "in [old] {1}"
    folder.mkdir()
    buffer = io.BytesIO()
    Image.fromarray(gradient(8, 9)).save(buffer, "PNG")
    names = [
        *(b"M\xfcller.png", "Café.png".encode(), "Cafe\u0301s.png".encode(), b"a[1]*?.png"),
        *(b"x" * 251 + b".png", ("é" * 125).encode() + b".png", b"new\nline.png"),
        *(b" space .png", b"-dash.png", b"tab\t.png", b"[bold]red.png", b"\x1b[31m.PNG"),
    ]
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(buffer.getvalue())
    (folder / "brok\nen[1].png").write_bytes(b"none")
    result = CliRunner().invoke(
        app, ["restore", str(folder), str(tmp_path / "out"), "--compare", "html"]
    )
    assert result.exit_code == 1
    assert f"{len(names)} restored, 1 failed" in result.output
    assert sorted(map(os.fsencode, os.listdir(tmp_path / "out"))) == sorted(
        [
            *names,
            b"compare.html",
            *(
                name
                for name in map(os.fsencode, os.listdir(tmp_path / "out"))
                if name.startswith(b".")
            ),
        ]
    )
    lines = [line for line in result.output.splitlines() if line.startswith(("[", "Failed"))]
    assert len(lines) == len(names) + 1
    assert "\x1b[31m.PNG" not in result.output
    assert any(r"brok\nen[1].png" in line for line in lines)


SCRIPT = """
import signal, sys, time
# Whoever started the tests may ignore these (nohup, a background job).
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
from hypir_cli.cli import restore as command
from hypir_cli.cli.app import main
from hypir_cli.folder import Restored
from hypir_cli.restore import folder

class Worker:
    def __init__(self, *arguments, **options):
        self.engine = None
    def restore(self, image, job):
        time.sleep(0.3)
        return Restored(samples=[image.pixels])

folder._Worker = Worker
sys.argv = ["hypir", "restore", sys.argv[1], sys.argv[2], "--report", sys.argv[3], "--json"]
from hypir_cli.cli.progress import FolderProgress
FolderProgress.on_ready = lambda self, engine: None
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_ends_like_ctrl_c(tmp_path: Path, name: str, code: int) -> None:
    _noisy_folder(tmp_path / "in", 8)
    places = [tmp_path / "in", tmp_path / "out", tmp_path / "r.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, places)],
        cwd=Path(__file__).parent.parent,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for_results(tmp_path / "out", 1)
        process.send_signal(signal.Signals[name])
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, said
    assert ("Interrupted" if name == "SIGINT" else f"Ended by {name}") in said
    assert not [name for name in os.listdir(tmp_path / "out") if name.endswith(".tmp")]
    names = [path.name for path in (tmp_path / "out").glob("*.png")]
    assert 1 <= len(names) < 8
    assert all(read_image(tmp_path / "out" / other).pixels.size for other in names)
    assert json.loads((tmp_path / "r.json").read_text())["interrupted"] is True


def test_nohup_is_respected() -> None:
    from hypir_cli.cli.signals import terminations

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminations():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
