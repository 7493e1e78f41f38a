"""The examples of captioning and exporting run, and what a restoration before captioning gives."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hypir_cli.caption.run import caption_folder
from hypir_cli.config.caption import CaptionConfig, CaptionerConfig
from hypir_cli.config.restore import ModelConfig, RestoreConfig
from hypir_cli.folder.prompt_table import read_prompts
from hypir_cli.models.checkpoint import CheckpointInfo, read_info
from hypir_cli.models.lora import save_lora
from hypir_cli.restore.quick import quick_restore
from tests.builders import BUILDERS
from tests.pictures import EXAMPLES
from tests.web_server import QuietHandler, serving


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a_red-house.png", "two_boats.jpg"):
        Image.new("RGB", (24, 16), "red").save(folder / name)
    return folder


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Output of a command that finds `hypir` on its path, as an installed one would."""
    program = folder / "bin" / "hypir"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hypir_cli "$@"\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    variables = {
        **os.environ,
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(EXAMPLES.parent),
        **environment,
    }
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=variables, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_captioner_of_ones_own_fills_a_table(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "prompts.jsonl"
    output = run(sys.executable, EXAMPLES / "own_captioner.py", photos, table, folder=tmp_path)
    assert "2 captioned" in output
    assert list(read_prompts(table).values()) == ["a red house.", "two boats."]


def test_a_folder_is_captioned_by_an_endpoint(photos: Path, tmp_path: Path) -> None:
    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.answer({"data": [{"id": "vlm"}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.answer({"choices": [{"message": {"content": "A blurry red wall."}}]})

        def answer(self, body: Any) -> None:
            self.send(json.dumps(body).encode(), headers={})

    with serving(Handler) as url:
        script, table = EXAMPLES / "caption_with_endpoint.sh", tmp_path / "prompts.parquet"
        variables = {"OPENAI_BASE_URL": f"{url}/v1", "NO_PROXY": "*"}
        run("sh", script, photos, table, folder=tmp_path, **variables)
    assert set(read_prompts(table).values()) == {"A red wall."}


def test_a_lora_is_exported_for_three_programs(tmp_path: Path) -> None:
    lora = {
        "conv_in.lora_A.weight": torch.randn(4, 4, 3, 3),
        "conv_in.lora_B.weight": torch.randn(8, 4, 1, 1),
    }
    save_lora(tmp_path / "x.safetensors", lora, info=CheckpointInfo(backbone="sd2"))
    out = tmp_path / "out"
    script = EXAMPLES / "export_everywhere.sh"
    run("sh", script, tmp_path / "x.safetensors", out, "2", folder=tmp_path)
    for name in ("comfyui.safetensors", "diffusers.safetensors", "peft/adapter_model.safetensors"):
        info = read_info(out / name)
        assert info is not None
        assert info.lora_rank == 2


def test_images_can_be_captioned_after_a_restoration(photos: Path, tmp_path: Path) -> None:
    base = BUILDERS["tiny"](tmp_path / "base")
    restore = RestoreConfig(model=ModelConfig(base=str(base)))
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    restored = quick_restore(restore)(Image.fromarray(noise))
    assert (restored.mode, restored.size) == ("RGB", (40, 24))
    assert not np.array_equal(np.asarray(restored), noise)
    config = CaptionConfig(
        to="jsonl",
        out=tmp_path / "prompts.jsonl",
        pre_restore=True,
        restore=restore,
        captioner=CaptionerConfig(kind="fixed", text="A wall."),
    )
    assert caption_folder([photos], config=config, load_restorer=quick_restore).written == 2
