"""`hypir restore --backbone sd2` with a model folder in diffusers layout and a LoRA in the release's format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypir_cli.models import prompt_cache
from tests.commands import run
from tests.golden import PROMPT
from tests.golden import ROOT as GOLDEN

MODEL = ("--backbone", "sd2", "--base", GOLDEN / "model", "--lora", GOLDEN / "lora.pth")


def test_parity_gives_the_reference_output(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    result = run(
        "restore", GOLDEN / "inputs" / "a96x96.png", target, *MODEL, "--prompt", PROMPT,
        "--parity", "--tile", "64", "--dtype", "fp32",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    expected = np.load(GOLDEN / "outputs" / "a96x96_p64s32_x1_mode.npy").transpose(1, 2, 0)
    with Image.open(target) as picture:
        levels = np.asarray(picture).astype(float)
    assert abs(levels - 255 * expected).max() <= 0.5 + 255 * 2e-4


def test_the_default_path_uses_prompt_and_lora(tmp_path: Path) -> None:
    photo = GOLDEN / "inputs" / "b200x136.png"
    results = {}
    for name, extra in (
        ("a", ("--prompt", PROMPT)),
        ("b", ("--prompt", "a cup of coffee")),
        ("c", ("--prompt", PROMPT, "--lora-scale", "0")),
        ("d", ("--prompt", PROMPT, "--coeff-timestep", "1")),
    ):
        target = tmp_path / f"{name}.png"
        result = run("restore", photo, target, *MODEL, *extra, "--tile", "128")
        assert result.exit_code == 0, result.output
        with Image.open(target) as picture:
            results[name] = np.asarray(picture).astype(int)
    assert all((results["a"] != results[name]).any() for name in "bcd")


def test_prompts_that_do_not_fit_the_memory_change_no_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, prompt in (("a", PROMPT), ("b", "a cup of coffee"), ("c", PROMPT)):
        shutil.copy(GOLDEN / "inputs" / "a96x96.png", photos / f"{name}.png")
        (photos / f"{name}.txt").write_text(prompt, encoding="utf-8")
    pictures = []
    for limit in (2**30, 0):
        monkeypatch.setattr(prompt_cache, "usual_limit", lambda limit=limit: limit)
        out = tmp_path / f"limit-{limit}"
        result = run("restore", photos, out, *MODEL, "--caption", "sidecar")
        assert result.exit_code == 0, result.output
        assert ("text encoders stay" in " ".join(result.output.split())) == (limit == 0)
        pictures.append([(out / f"{name}.png").read_bytes() for name in "abc"])
    assert pictures[0] == pictures[1]
    assert pictures[0][0] == pictures[0][2] != pictures[0][1]


def test_texture_without_conditioning_is_met_after_the_model_and_said(tmp_path: Path) -> None:
    reached = []
    for wanted in ("500", "1500", "3000"):
        report = tmp_path / f"{wanted}.json"
        result = run(
            "restore", GOLDEN / "inputs" / "a96x96.png", tmp_path / wanted, *MODEL, "--texture", wanted,
            "--report", report,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        words = " ".join(result.output.split())
        assert words.count("lora.pth was trained without texture conditioning") == 1
        details = json.loads(report.read_text(encoding="utf-8"))["images"][0]["details"]
        assert details["texture"] == float(wanted)
        reached.append(details["textures_reached"][0])
        missed = abs(reached[-1] - float(wanted)) > 0.1 * float(wanted)
        assert (f"texture {wanted} was asked" in words) == missed
    assert reached == sorted(set(reached))
    assert reached[2] > 1.5 * reached[0]


def test_a_prompt_that_is_too_long_says_what_is_dropped(tmp_path: Path) -> None:
    prompt = " ".join(["sea"] * 60 + ["sunset"])
    result = run(
        "restore", GOLDEN / "inputs" / "a96x96.png", tmp_path / "o", *MODEL, "--prompt", prompt
    )
    assert result.exit_code == 0
    assert "too long" in result.output
    assert "sunset" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (("--base", "/no/such/folder"), "/no/such/folder"),
        (("--lora", "/no/such/file.pth"), "/no/such/file.pth"),
        (("--encoder", "/no/such/encoder.safetensors"), "encoder.safetensors"),
        (("--max-memory", "1KB"), "--max-memory allows 1KB"),
        (("--tile", "20", "--overlap", "10"), "--tile 20"),
        (("--offload", "model", "--device", "cpu"), "--offload model"),
    ],
)
def test_what_cannot_be_loaded_is_named(tmp_path: Path, extra: tuple[str, ...], words: str) -> None:
    result = run("restore", GOLDEN / "inputs" / "a96x96.png", tmp_path / "o", *MODEL, *extra)
    assert result.exit_code == 1, result.output
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_the_report_says_what_was_used(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    run(
        "restore", GOLDEN / "inputs" / "a96x96.png", tmp_path / "o", *MODEL, "--prompt", "sea",
        "--samples", "2", "--posterior", "sample", "--report", report,
    )  # fmt: skip
    details = json.loads(report.read_text(encoding="utf-8"))["images"][0]["details"]
    assert details["prompt"] == "sea"
    assert details["seeds"] == [231, 232]
