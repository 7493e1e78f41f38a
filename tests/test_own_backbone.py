"""A backbone that another package brings, the one in examples: through the contract and every command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import Result

from hypir_cli.config.families import ENTRY_POINTS, family_names, find_family, register
from hypir_cli.config.family import Family
from hypir_cli.errors import BackboneError, ConfigError
from hypir_cli.models.backbones.registry import load_backbone
from tests import commands
from tests.pictures import EXAMPLES
from tests.test_backbone_contract import *  # noqa: F403
from tests.tiny_families import seeded
from tests.training import save_photos

LINES = 80
"""Fewer than this many may a backbone take."""


def install(folder: Path, *, value: str = "own_backbone:FAMILY") -> Path:
    """What pip leaves of a package that brings a backbone: its module and its entry point."""
    info = folder / "pebble-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pebble\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\npebble = {value}\n")
    (folder / "own_backbone.py").write_text((EXAMPLES / "own_backbone.py").read_text())
    return folder


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = install(tmp_path_factory.mktemp("site"))
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("own_backbone", None)


@pytest.fixture(scope="module")
def built(installed: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, str]:
    """The contract's tests get this backbone in place of ours."""
    folder = tmp_path_factory.mktemp("pebble")
    with seeded(0):
        backbone = load_backbone("pebble")
    states = {name: module.state_dict() for name, module in backbone.components().items()}
    torch.save(states, folder / "pebble.pt")
    return "pebble", folder, "default"


def run(*arguments: object) -> Result:
    result = commands.run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def test_it_takes_few_lines() -> None:
    assert len((EXAMPLES / "own_backbone.py").read_text().splitlines()) < LINES


def test_every_registered_backbone_has_a_builder() -> None:
    """The contract's list of our own backbones, which this one is not among; it is known all the same."""
    assert family_names()[-1] == "pebble"


def test_info_knows_it() -> None:
    content = json.loads(run("info", "--backbone", "pebble", "--json").stdout)
    assert content["licence"] == "Do as you like."
    assert content["base"] == "inside the package"
    assert content["memory"] == []
    assert "pebble" in [
        entry["name"] for entry in json.loads(run("info", "--json").stdout)["backbones"]
    ]


def test_it_trains_restores_and_is_exported(built: tuple[str, Path], tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "photos")
    values = {
        "output_dir": str(tmp_path / "run"),
        "device": "cpu",
        "model": {"backbone": "pebble", "base": str(built[1])},
        "data": {"sources": [str(photos)], "crop_size": 32},
        "schedule": {"first": {"steps": 2, "lr": 1e-3}},
        "optim": {"batch_size": 2},
        "lora": {"rank": 2},
        "loss": {"perceptual_kind": "none", "perceptual": 0.0},
        "discriminator": {"trunk": "random-small", "hidden": 8},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    run("train-gan", tmp_path / "run.yaml")
    lora = tmp_path / "lora.safetensors"
    run("export-lora", tmp_path / "run", lora)
    model = ("--backbone", "pebble", "--base", built[1], "--device", "cpu")
    run("restore", photos, tmp_path / "plain", *model)
    run("restore", photos, tmp_path / "tuned", *model, "--lora", lora)
    plain, tuned = (
        np.asarray(Image.open(tmp_path / name / "0.png")) for name in ("plain", "tuned")
    )
    assert plain.shape == tuned.shape == (48, 48, 3)
    assert not np.array_equal(plain, tuned)
    refused = commands.run("export-lora", lora, tmp_path / "x", "--format", "kohya")
    assert refused.exit_code == 1
    assert "no kohya format for pebble" in refused.output


def test_a_program_without_a_package_registers_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypir_cli.config.families._REGISTERED", {})
    mine = Family(name="mine", backbone="own_backbone:Pebble")
    register(mine)
    register(mine)
    assert find_family("mine") is mine
    for taken in ("mine", "sd2"):
        with pytest.raises(ConfigError, match="already"):
            register(Family(name=taken, backbone="elsewhere:Other"))


@pytest.mark.parametrize(
    "value", ["no_such_module:FAMILY", "own_backbone:Missing", "own_backbone:Pebble"]
)
def test_a_package_that_is_broken_is_named(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", value=value)))
    with pytest.raises(BackboneError, match=value):
        find_family("pebble")
