"""The worked example of evaluation: degrade, restore, score, look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("coffee", "astronaut"):
        with Image.open(ROOT / "examples" / "originals" / f"{name}.jpg") as image:
            image.crop((100, 60, 308, 172)).save(folder / f"{name}.png")
    return folder


@pytest.mark.slow
def test_degrading_restoring_and_scoring_gives_a_page_with_both_methods(photos, tmp_path):
    program = tmp_path / "bin" / "hypir"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hypir_cli "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["sh", ROOT / "examples" / "evaluate_restoration.sh", photos, tmp_path / "out"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "out" / "out.json").read_text())
    assert set(record["summary"]) == {"hypir"}
    assert record["baseline"]["name"] == "degraded"
    assert {"psnr", "ssim", "niqe"} <= set(record["baseline"]["summary"])
    assert {"psnr", "ssim", "niqe", "color-shift", "consistency"} <= set(record["summary"]["hypir"])
    assert record["speed"]["hypir"]["compute_seconds"] > 0
    assert record["speed"]["hypir"]["peak_memory_bytes"] > 0
    assert not record["problems"]
    assert (tmp_path / "out" / "out.html").read_text().count("data:image/webp") == 2 * 3
