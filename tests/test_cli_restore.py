"""`hypir restore` as its users run it, with the embedded backbone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hypir_cli.cli.app import COMMANDS
from hypir_cli.folder.compare import compare_path
from hypir_cli.models.device import dtype_name, pick_dtype
from tests.commands import run
from tests.pictures import PHOTOS


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three small pictures, one of them in a folder below."""
    folder = tmp_path / "in"
    (folder / "deep er").mkdir(parents=True)
    with Image.open(PHOTOS / "astronaut.jpg") as picture:
        picture.crop((100, 20, 196, 116)).save(folder / "a.png")
        picture.crop((60, 60, 124, 100)).save(folder / "b.jpg")
        picture.crop((0, 0, 50, 70)).save(folder / "deep er" / "ç.png")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_imports_neither_torch_nor_the_commands() -> None:
    code = (
        "import sys; from hypir_cli.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'hypir_cli.cli.restore'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Restore degraded photographs" in done.stdout
    assert done.stderr.strip() == "loaded: []"


@pytest.mark.parametrize("name", ["restore", "train-gan", "eval", "caption", "export-lora"])
def test_help_of_a_command_imports_no_torch(name: str) -> None:
    code = (
        "import sys; from hypir_cli.cli.app import app\n"
        f"try: app(['{name}', '--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


def test_a_folder_is_restored_with_its_tree_and_reported(photos: Path, tmp_path: Path) -> None:
    report_path = tmp_path / "report.json"
    result = run("restore", photos, tmp_path / "out", "--report", report_path)
    assert result.exit_code == 0, result.output
    assert pixels_of(tmp_path / "out" / "a.png").shape == (96, 96, 3)
    assert pixels_of(tmp_path / "out" / "deep er" / "ç.png").shape == (70, 50, 3)
    report = json.loads(report_path.read_text(encoding="utf-8"))
    assert report["summary"]["done"] == 3
    details = report["images"][0]["details"]
    assert details["prompt"] == ""
    assert details["seeds"] == [231]
    assert details["peak_memory"] > 0
    dtype = dtype_name(pick_dtype("auto", torch.device("cpu")))
    assert (details["device"], details["dtype"]) == ("cpu", dtype)
    assert f"tiny on cpu, {dtype}, tiles up to" in result.stderr
    assert details["tiles_at_once"] == 1
    assert set(details["stages"]) == {"encode", "denoise", "decode", "other"}
    assert report["settings"]["model"]["backbone"] == "tiny"


def test_a_second_run_does_only_what_is_missing(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("restore", photos, out).exit_code == 0
    before = (out / "a.png").stat().st_mtime_ns
    (out / "b.jpg").unlink()
    result = run("restore", photos, out)
    assert "1 restored, 2 already there" in result.output
    assert (out / "a.png").stat().st_mtime_ns == before
    assert run("restore", photos, out, "--existing", "error").exit_code == 1


def test_the_same_image_gives_the_same_bytes_in_any_company(photos: Path, tmp_path: Path) -> None:
    run("restore", photos, tmp_path / "all", "--generativity", "0.3")
    run("restore", photos / "a.png", tmp_path / "one.png", "--generativity", "0.3")
    together, alone = pixels_of(tmp_path / "all" / "a.png"), pixels_of(tmp_path / "one.png")
    assert np.array_equal(together, alone)


def test_bad_images_are_named_and_the_others_come_out(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_text("not a picture", encoding="utf-8")
    result = run("restore", photos, tmp_path / "out")
    assert result.exit_code == 1
    assert "broken.png" in result.output
    assert "3 restored, 1 failed" in result.output


def test_a_dry_run_writes_nothing(photos: Path, tmp_path: Path) -> None:
    result = run("restore", photos, tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    assert result.output.count("restore ") == 3
    assert not (tmp_path / "out").exists()


def test_scale_and_samples_shape_the_results(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(
        "restore", photos / "b.jpg", out, "--scale", "2", "--samples", "2", "--generativity", "0.5",
        "--format", "png",
    )  # fmt: skip
    first, second = (pixels_of(out / f"b-{n}.png") for n in (1, 2))
    assert first.shape == (80, 128, 3)
    assert not np.array_equal(first, second)


def test_settings_obey_flag_then_file_then_default(photos: Path, tmp_path: Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("control: {seed: 7, samples: 2}\ncolor_fix: none\n", encoding="utf-8")
    report = tmp_path / "r.json"
    result = run(
        "restore", photos / "a.png", tmp_path / "o", "--config", config, "--seed", "9",
        "--set", "tiles.overlap=32", "--report", report,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    settings = json.loads(report.read_text(encoding="utf-8"))["settings"]
    assert settings["control"]["seed"] == 9
    assert settings["control"]["samples"] == 2
    assert settings["color_fix"] == "none"
    assert settings["tiles"]["overlap"] == 32
    assert settings["output"]["existing"] == "skip"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["restore", "only-one"], 2, "OUTPUT"),
        (["restore", "nowhere", "out"], 1, "nowhere"),
        (["restore", PHOTOS, "out", "--scale", "2", "--long-side", "9"], 2, "hoose one of"),
        (["restore", PHOTOS, "out", "--backbone", "sd9"], 1, "did you mean"),
        (["restore", PHOTOS, "out", "--set", "tiles.sise=3"], 1, "did you mean tiles.size"),
        (["restore", PHOTOS, "out", "--set", "tiles.size=big"], 1, "whole number"),
        (["restore", PHOTOS, "out", "--texture", "much"], 2, "number or auto"),
        (["restore", PHOTOS, "out", "--shard", "3/2"], 2, "I/N"),
        (["restore", PHOTOS, "out", "--generativity", "2"], 2, "0..1"),
        (["restore", PHOTOS, "out", "--device", "tpu"], 2, "auto, cpu, cuda"),
    ],
)
def test_wrong_usage_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_prompts_come_from_the_folder_then_the_sidecar_then_the_flag(
    photos: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "a.txt").write_text("a woman in orange\n", encoding="utf-8")
    (photos / "b.txt").write_text("a shuttle", encoding="utf-8")
    report = tmp_path / "r.json"
    result = run(
        "restore", photos, tmp_path / "out", "--prompt", "a photograph", "--prompt-dir", prompts,
        "--caption", "sidecar", "--report", report,
    )  # fmt: skip
    assert "does not use prompts" in result.output
    images = json.loads(report.read_text(encoding="utf-8"))["images"]
    used = {Path(image["input"]).name: image["details"]["prompt"] for image in images}
    assert used == {"a.png": "a woman in orange", "b.jpg": "a shuttle", "ç.png": "a photograph"}


def test_json_on_standard_output_is_nothing_but_json(photos: Path, tmp_path: Path) -> None:
    result = run("restore", photos, tmp_path / "o", "--json")
    assert json.loads(result.stdout)["summary"]["done"] == 3


def test_sixteen_bits_grey_and_alpha_survive_the_whole_way(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 40 * 48).reshape(40, 48).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "grey16.png")
    with Image.open(PHOTOS / "coffee.jpg") as picture:
        picture.crop((0, 0, 64, 48)).convert("RGBA").save(tmp_path / "alpha.png")
    run("restore", tmp_path / "grey16.png", tmp_path / "alpha.png", tmp_path / "out")
    with Image.open(tmp_path / "out" / "grey16.png") as grey:
        assert grey.mode == "I;16"
        assert len(np.unique(np.asarray(grey))) > 256
    with Image.open(tmp_path / "out" / "alpha.png") as alpha:
        assert alpha.mode == "RGBA"


def test_compare_writes_pictures_side_by_side_or_a_page(photos: Path, tmp_path: Path) -> None:
    run("restore", photos / "a.png", tmp_path / "side", "--compare", "side")
    assert pixels_of(compare_path(tmp_path / "side" / "a.png")).shape[1] >= 2 * 96
    run("restore", photos, tmp_path / "page", "--compare", "html")
    assert "a.png" in (tmp_path / "page" / "compare.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_two_launched_processes_share_the_folder(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "hypir_cli", "restore", str(photos), str(out)]
    command += ["--report", str(tmp_path / "r.json")]
    launched = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **launched, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(processes):
        assert f"torchrun: this process takes part {rank + 1} of 2" in process.communicate()[1]
        assert process.returncode == 0
    assert sorted(path.name for path in out.rglob("[!.]*.*")) == ["a.png", "b.jpg", "ç.png"]
    counts = [
        json.loads((tmp_path / f"r.{n}-of-2.json").read_text(encoding="utf-8"))["summary"]["done"]
        for n in (1, 2)
    ]
    assert sorted(counts) == [1, 2]


def test_a_rank_left_over_in_the_shell_is_named_and_the_whole_folder_restored(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = run("restore", photos, tmp_path / "out", "--dry-run")
    assert "RANK=1 and WORLD_SIZE=2" in result.stderr.replace("\n", " ")
    assert len(result.stdout.splitlines()) == 3


def test_automatic_texture_is_predicted_by_the_embedded_backbone(
    photos: Path, tmp_path: Path
) -> None:
    report = tmp_path / "r.json"
    result = run(
        "restore", photos / "a.png", tmp_path / "o", "--texture", "auto", "--report", report
    )
    assert result.exit_code == 0, result.output
    details = json.loads(report.read_text(encoding="utf-8"))["images"][0]["details"]
    assert details["texture"] > 0
