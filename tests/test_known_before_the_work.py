"""Limits are known before the work, transparent pixels do not bleed, and what is passed over is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from hypir_cli.cli.app import app
from hypir_cli.images import read_image
from hypir_cli.pixels.bleed import spread_under
from tests.pictures import gradient, noise

COLOUR = (235, 225, 215)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["restore", *map(str, arguments)])


def _photos(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(gradient(24, 32)).save(folder / name)
    return folder


def test_a_result_too_large_for_its_format_is_told_and_written_as_png(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(gradient(2, 5000)).save(tmp_path / "in" / "pano.webp")
    dry = run(tmp_path / "in", tmp_path / "out", "--scale", 4, "--dry-run")
    assert "pano.png" in dry.output
    assert "WEBP" in dry.output
    assert run(tmp_path / "in", tmp_path / "out", "--scale", 4).exit_code == 0
    assert read_image(tmp_path / "out" / "pano.png").width == 20000
    named = run(tmp_path / "in" / "pano.webp", tmp_path / "p.webp", "--scale", 4, "--dry-run")
    assert named.exit_code == 1
    assert "16383" in named.output


@pytest.mark.parametrize("name", ["o.gif", "o.bmp", "o.ppm", "o.jp2"])
def test_a_file_that_is_named_is_made(tmp_path: Path, name: str) -> None:
    photos = _photos(tmp_path / "in", "a.jpg")
    assert run(photos / "a.jpg", tmp_path / name).exit_code == 0
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("name", ["o.heic", "o.psd", "o.jxl"])
def test_a_format_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, name: str
) -> None:
    photos = _photos(tmp_path / "in", "a.jpg")
    result = run(photos / "a.jpg", tmp_path / name)
    assert result.exit_code == 1
    assert "can be read but not written" in " ".join(result.output.split())
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("dry", [True, False])
def test_a_folder_with_the_results_name_is_told_before_the_work(tmp_path: Path, dry: bool) -> None:
    photos = _photos(tmp_path / "in", "a.png", "b.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    result = run(photos, tmp_path / "out", *(["--dry-run"] if dry else []))
    assert "a.png: Is a directory" in result.output
    assert result.exit_code == 1
    assert (tmp_path / "out" / "b.png").is_file() != dry


@pytest.mark.parametrize("command", ["restore", "solve", "solve --simulate"])
def test_a_report_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, command: str
) -> None:
    Image.fromarray(gradient(24, 32)).save(tmp_path / "a.png")
    (tmp_path / "r.json").mkdir()
    arguments = [str(tmp_path / "a.png"), str(tmp_path / "o.png"), "--report"]
    options = ["--task", "inpaint", "--box", "4"] if "solve" in command else []
    for place in ("r.json", "a.png/r.json"):
        result = CliRunner().invoke(
            app, [*command.split(), *arguments, str(tmp_path / place), *options]
        )
        assert result.exit_code == 1
        assert "cannot write" in result.output
        assert not (tmp_path / "o.png").exists()


def test_a_page_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    Image.fromarray(gradient(24, 32)).save(tmp_path / "a.png")
    (tmp_path / "out" / "compare.html").mkdir(parents=True)
    result = CliRunner().invoke(
        app, ["restore", str(tmp_path / "a.png"), str(tmp_path / "out"), "--compare", "html"]
    )
    assert result.exit_code == 1
    assert "cannot write" in result.output
    assert not (tmp_path / "out" / "a.png").exists()


def test_a_dry_run_tells_of_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "in", "a.png")
    (tmp_path / "file").write_bytes(b"")
    result = run(photos, tmp_path / "file" / "out", "--dry-run")
    assert result.exit_code == 1
    assert "Not a directory" in result.output


@pytest.mark.parametrize("hidden", [0, 255])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_cut_out_on_its_own_colour_shows_no_line(tmp_path: Path, scale: int, hidden: int) -> None:
    y, x = np.mgrid[0:64, 0:64]
    alpha = np.clip(20.5 - np.hypot(y - 31.5, x - 31.5), 0, 1)
    rgb = np.full((64, 64, 3), COLOUR, np.uint8)
    rgb[alpha == 0] = hidden
    picture = np.dstack([rgb, np.round(alpha * 255).astype(np.uint8)])
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert run(tmp_path / "a.png", tmp_path / "b.png", "--scale", scale).exit_code == 0
    image = Image.open(tmp_path / "b.png").convert("RGBA")
    ground = Image.new("RGBA", image.size, (*COLOUR, 255))
    ground.alpha_composite(image)
    assert np.abs(np.asarray(ground).astype(int)[..., :3] - COLOUR).max() <= 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (64, 65), (300, 517)])
def test_seen_pixels_stay_and_hidden_ones_take_their_colours(
    size: tuple[int, int], dtype: type
) -> None:
    pixels = noise(*size, 3, dtype=dtype)
    alpha = (noise(*size, seed=2) > 200).astype(dtype) * 7
    alpha.flat[0] = 1
    spread = spread_under(pixels, alpha)
    seen = alpha > 0
    assert np.array_equal(spread[seen], pixels[seen])
    for channel in range(3):
        values = pixels[..., channel][seen]
        assert spread[..., channel].min() >= values.min()
        assert spread[..., channel].max() <= values.max()
    assert spread_under(pixels, None) is pixels
    assert spread_under(pixels, alpha * 0) is pixels


def test_what_is_passed_over_is_counted_and_named(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "in", "a.png")
    for name in ("b.psd", "c.PSD", "d.svg", "words.txt"):
        (photos / name).write_bytes(b"x")
    result = run(photos, tmp_path / "out", "--report", tmp_path / "r.json")
    assert result.exit_code == 0
    assert "2 .psd, 1 .svg" in result.output
    assert json.loads((tmp_path / "r.json").read_text())["left_out"] == {".psd": 2, ".svg": 1}


def test_a_rerun_with_other_settings_says_so(tmp_path: Path) -> None:
    photos = _photos(tmp_path / "in", "a.png", "b.png")
    assert "other settings" not in run(photos, tmp_path / "out").output
    again = run(photos, tmp_path / "out")
    assert "other settings" not in again.output
    assert "2 already there" in again.output
    other = run(photos, tmp_path / "out", "--scale", 2)
    said = " ".join(other.output.split())
    assert "2 result(s) there were made with other settings (size.scale unset, now 2.0)" in said
    assert "--existing overwrite" in said
    assert run(photos, tmp_path / "out", "--scale", 2, "--existing", "overwrite").exit_code == 0
    assert "other settings" not in run(photos, tmp_path / "out", "--scale", 2).output


@pytest.mark.parametrize("kind", ["html", "side"])
def test_a_comparison_is_made_after_the_run_too(tmp_path: Path, kind: str) -> None:
    photos = _photos(tmp_path / "in", "a.png")
    run(photos, tmp_path / "out")
    assert run(photos, tmp_path / "out", "--compare", kind).exit_code == 0
    name = "compare.html" if kind == "html" else "a.compare.jpg"
    assert (tmp_path / "out" / name).is_file()


def test_each_kind_of_note_is_said_once_and_reported_for_each(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "abc":
        Image.fromarray(gradient(8, 8)).convert("CMYK").save(tmp_path / "in" / f"{name}.jpg")
    result = run(tmp_path / "in", tmp_path / "out", "--report", tmp_path / "r.json")
    assert result.output.count("CMYK was converted") == 2
    assert "2 more: CMYK was converted" in " ".join(result.output.split())
    images = json.loads((tmp_path / "r.json").read_text())["images"]
    assert all("CMYK was converted to sRGB" in image["notes"] for image in images)


def test_a_partial_picture_is_restored_on_request(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(96, 96, 3)).save(tmp_path / "in" / "a.jpg")
    data = (tmp_path / "in" / "a.jpg").read_bytes()
    (tmp_path / "in" / "a.jpg").write_bytes(data[: len(data) // 2])
    refused = run(tmp_path / "in", tmp_path / "out")
    assert refused.exit_code == 1
    assert "--partial" in refused.output
    assert run(tmp_path / "in", tmp_path / "out", "--partial").exit_code == 0


def test_a_float_range_is_an_option(tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "in").mkdir()
    values = gradient(24, 32).astype(np.float32)
    tifffile.imwrite(tmp_path / "in" / "a.tif", values, photometric="rgb", metadata=None)
    assert run(tmp_path / "in", tmp_path / "out", "--float-range", "0,255").exit_code == 0
    mean = read_image(tmp_path / "out" / "a.tif").pixels.mean() / 65535
    assert abs(mean - values.mean() / 255) < 0.05
    assert run(tmp_path / "in", tmp_path / "out", "--float-range", "white").exit_code == 2
