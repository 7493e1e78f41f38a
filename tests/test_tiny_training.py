"""The recipe of the embedded backbone, run small: it packs, trains every stage, resumes and writes weights that load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from hypir_cli.config.run_dir import read_metrics
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.checkpoint import CheckpointInfo, load_tensors, save_tensors
from hypir_cli.models.whole import whole_modules
from tests.pictures import EXAMPLES

EXAMPLE = EXAMPLES / "tiny"
SMALL = (
    "schedule.first.steps=2",
    "schedule.first.warmup_steps=0",
    "data.crop_size=64",
    "data.reuse_pool=8",
    "optim.batch_size=8",
    "optim.precision=fp32",
    "logging.every=1",
    "logging.samples_every=0",
    "validation.num_images=2",
)


def example(name: str) -> Any:
    """One of the recipe's scripts as a module."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    return __import__(name)


@pytest.fixture(scope="module")
def photos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC).save(
            folder / f"{seed}.png"
        )
    return folder


def test_shards_are_small_and_the_same_every_time(photos_dir: Path, tmp_path: Path) -> None:
    pack = example("pack")
    first, second = (
        pack.pack(photos_dir, tmp_path / name, count=16, seed=0) for name in ("one", "two")
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert all(path.stat().st_size <= pack.SHARD_BYTES for path in first)
    with tarfile.open(first[0]) as shard:
        names = shard.getnames()
        content = shard.extractfile(names[0])
        assert content is not None
        assert Image.open(content).size == (pack.SIDE, pack.SIDE)
    assert len(names) == 16


def test_shards_end_where_the_limit_is(
    photos_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = example("pack")
    monkeypatch.setattr(pack, "SHARD_BYTES", 60_000)
    monkeypatch.setattr(pack, "TOTAL_BYTES", 120_000)
    paths = pack.pack(photos_dir, tmp_path, count=64, seed=0)
    assert len(paths) > 1
    assert all(path.stat().st_size <= 60_000 for path in paths)
    # tar fills its last record of 10 kB.
    assert sum(path.stat().st_size for path in paths) <= 120_000 + len(paths) * 10_240


@pytest.mark.slow
def test_the_whole_recipe_writes_weights_that_load(
    photos_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = example("train")
    command = ["train.py", str(photos_dir), str(tmp_path), "--validation", str(photos_dir)]
    command += ["--squares", "16"]
    for assignment in SMALL:
        command += ["--set", assignment]
    monkeypatch.setattr(sys, "argv", command)
    train.main()
    backbone = TinyBackbone.load(tmp_path / "weights")
    assert backbone.control_embedding is not None
    assert backbone.texture_predictor is not None
    assert backbone.encode(torch.rand(1, 3, 32, 32)).shape == (1, 32, 8, 8)
    for stage in train.STAGES:
        scores = [line for line in read_metrics(tmp_path / stage / "metrics.jsonl")]
        assert any("val/psnr" in line for line in scores), stage
    # What is done is not done again, and the weights are those that restoring through the parts gives.
    train.main()
    latents = backbone.encode(torch.rand(1, 3, 32, 32))
    assert latents.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vae", "prior"])
def test_a_stopped_stage_goes_on_as_if_it_had_not_stopped(
    photos_dir: Path, tmp_path: Path, kind: str
) -> None:
    pack, new_backbone, run_stage = (example(n) for n in ("pack", "new_backbone", "run_stage"))
    shards = pack.pack(photos_dir, tmp_path / "shards", count=16, seed=0)
    unet = new_backbone.TinyUNetConfig(
        channels=(8, 12, 16), down_blocks=(1, 1, 1), up_blocks=(1, 1, 1)
    )
    start = new_backbone.new_backbone(shards, captions=None, unet=unet, seed=0)
    start.save(tmp_path / "start", dtype=torch.float32)

    def run(out: str, steps: int) -> Path:
        values = {
            "device": "cpu",
            "output_dir": str(tmp_path / out),
            "data": {"sources": [str(path) for path in shards], "crop_size": 32},
            "schedule": {"first": {"steps": steps, "lr": 1e-3}},
            "optim": {"batch_size": 2},
            "logging": {"samples_every": 0, "tensorboard": False},
        }
        result: Path = run_stage.run(kind, [("test", values)], base=tmp_path / "start").result
        return result

    unbroken = run("one", 4)
    run("two", 2)
    resumed = run("two", 4)
    (wanted, info), (reached, resumed_info) = load_tensors(unbroken), load_tensors(resumed)
    assert info == resumed_info
    assert wanted.keys() == reached.keys()
    assert all(torch.equal(wanted[key], reached[key]) for key in wanted)


@pytest.mark.slow
def test_whole_weights_are_refined_in_stages_that_go_on_where_they_stopped(
    photos_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, refine = example("pack"), example("refine")
    pack.pack(photos_dir, tmp_path / "shards", count=16, seed=0)

    def run(stage: str, *assignments: str) -> None:
        command = ["refine.py", str(tmp_path / "shards"), str(tmp_path / "out"), "--stages", stage]
        for assignment in (*SMALL, *assignments):
            command += ["--set", assignment]
        monkeypatch.setattr(sys, "argv", command)
        refine.main()

    judged = (
        "loss.perceptual=0",
        "teacher.name=none",
        "discriminator.trunk=random-small",
        "discriminator.hidden=4",
        "discriminator.alone_steps=1",
    )
    run("fidelity")
    run("perceptual", "loss.perceptual=0")
    run("judge", *judged)
    refined = TinyBackbone.load(tmp_path / "out" / "weights")
    assert example("overlap").is_overlapping(refined)
    settings = (tmp_path / "out" / "judge.yaml").read_text()
    assert str(tmp_path / "out" / "perceptual" / refine.RESULT) in settings
    before = load_tensors(tmp_path / "out" / "perceptual" / refine.RESULT)[0]
    after, info = load_tensors(tmp_path / "out" / "judge" / refine.RESULT)
    assert info is not None
    assert info.training_step == 2
    assert any(not torch.equal(before[key], after[key]) for key in after)
    # What is done is not done again.
    run("judge", *judged)
    assert load_tensors(tmp_path / "out" / "judge" / refine.RESULT)[1] == info
    # The next stage starts from it, with its settings but its own.
    run("taught", *judged)
    settings = yaml.safe_load((tmp_path / "out" / "taught.yaml").read_text())
    assert settings["lora"]["start"] == str(tmp_path / "out" / "judge" / refine.RESULT)
    assert settings["discriminator"]["patch_width"] == 48
    assert settings["loss"]["adversarial_images_samples"] == "taught"


def test_an_average_lies_between_its_files_and_becomes_a_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    average = example("average")
    backbone = TinyBackbone.load()
    info = CheckpointInfo(kind="backbone", backbone="tiny")
    whole = {
        f"{part}.{name}": weight.detach()
        for part, module in whole_modules(backbone).items()
        for name, weight in module.named_parameters()
    }
    for name, factor in (("one", 1.0), ("other", 3.0)):
        tensors = {key: factor * value for key, value in whole.items()}
        save_tensors(tmp_path / f"{name}.safetensors", tensors, info=info)
    backbone.save(tmp_path / "base", dtype=torch.float32)
    files = [f"{tmp_path}/{name}.safetensors" for name in ("one", "other")]
    places = ["average.py", str(tmp_path / "base"), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*places, f"{files[0]}=0.75", f"{files[1]}=0.25"])
    average.main()
    found = load_tensors(tmp_path / "out" / "ema.safetensors")[0]
    for key, value in whole.items():
        torch.testing.assert_close(found[key], 1.5 * value)
    TinyBackbone.load(tmp_path / "out")
    for shares, message in (("=0.75 =0.75", "add up to 1, not 1.5"), (" ", "want FILE=SHARE")):
        one, other = (
            f"{file}{share}" for file, share in zip(files, shares.split(" "), strict=True)
        )
        monkeypatch.setattr(sys, "argv", [*places, one, other])
        with pytest.raises(SystemExit):
            average.main()
        assert message in capsys.readouterr().err
    plain = {key: value.contiguous() for key, value in whole.items()}
    save_file(plain, tmp_path / "foreign.safetensors")
    monkeypatch.setattr(sys, "argv", [*places, f"{tmp_path}/foreign.safetensors=1"])
    with pytest.raises(SystemExit, match=r"foreign\.safetensors was not written by hypir"):
        average.main()


@pytest.mark.parametrize("code", [130, 1])
def test_a_script_that_is_told_to_end_passes_it_on(code: int) -> None:
    child = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit({code})); print(1, flush=True); signal.pause()"
    # The parent says the child's number from inside the wait, when its handler is there.
    parent = (
        f"import subprocess, sys, train; process = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        "wait = process.wait; process.wait = lambda timeout: (print(process.pid, flush=True), wait(timeout))[1];"
        "sys.exit(train.wait(process, end=float('inf')))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], cwd=EXAMPLE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = {process.stdout.readline(), process.stdout.readline()}
        assert "1\n" in lines
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 130
    (pid,) = (int(line) for line in lines - {"1\n"})
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
