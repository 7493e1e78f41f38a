"""Both stages train every backbone on the device, alone and as processes of a launcher."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from torch import distributed

from hypir_cli.config.run_dir import read_metrics
from hypir_cli.config.schema import to_yaml
from hypir_cli.train.runs import train_encoder, train_gan
from hypir_cli.train.sharding import shard_frozen
from tests.builders import load_built
from tests.restoring import restored, some_images
from tests.training import encoder_config, gan_config


def losses(folder):
    rows = read_metrics(folder / "run" / "metrics.jsonl")
    values = [value for row in rows for key, value in row.items() if key.startswith("loss/")]
    assert len(rows) == 2
    assert values
    return values


def formats(place):
    return ["fp32", "bf16", "fp16"] if place == "cuda" else ["fp32", "bf16"]


def two_steps(place, precision):
    return {"schedule.first.steps": 2, "device": place, "optim.precision": precision}


def test_adapters_train_two_steps_in_every_number_format(tmp_path, name, place):
    for precision in formats(place):
        folder = tmp_path / precision
        config = gan_config(folder, {"backbone": name, **two_steps(place, precision)})
        assert train_gan(config).step == 2
        assert all(math.isfinite(value) for value in losses(folder))


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_adapters_train_on_a_quantised_base(tmp_path, name, place, kind):
    changes = {"lora.quantize_base": kind, **two_steps(place, "bf16")}
    assert train_gan(gan_config(tmp_path, {"backbone": name, **changes})).step == 2
    assert all(math.isfinite(value) for value in losses(tmp_path))


def test_the_encoder_trains_two_steps_in_every_number_format(tmp_path, place):
    for precision in formats(place):
        folder = tmp_path / precision
        assert train_encoder(encoder_config(folder, two_steps(place, precision))).step == 2
        assert all(math.isfinite(value) for value in losses(folder))


@pytest.mark.slow
def test_one_process_of_a_launcher_trains(tmp_path, place):
    config = gan_config(tmp_path, two_steps(place, "bf16"))
    settings = tmp_path / "run.yaml"
    settings.write_text(to_yaml(config), encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    done = subprocess.run(
        [*launcher, "-m", "hypir_cli", "train-gan", str(settings)],
        env=dict(os.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path)) >= 2


@pytest.fixture
def one_rank(tmp_path, place):
    """A process group of this process alone."""
    distributed.init_process_group(
        "nccl" if place == "cuda" else "gloo",
        init_method=f"file://{tmp_path / 'meeting'}",
        rank=0,
        world_size=1,
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
def test_a_sharded_denoiser_computes_the_same(folders, name, place):
    backbone = load_built(name, folders[name])
    backbone.enable_controls()
    for module in (*backbone.components().values(), backbone.control_embedding):
        module.to(place)
    usual = restored(backbone, some_images(), mode=torch.no_grad)
    shard_frozen(backbone.denoiser)
    sharded = restored(backbone, some_images(), mode=torch.no_grad)
    assert torch.allclose(sharded, usual, atol=1e-4)
