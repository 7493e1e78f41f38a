"""Profiles: sets of settings by the memory there is."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config.families import family_names
from hypir_cli.errors import ConfigError
from hypir_cli.models import device, profiles
from hypir_cli.models.profiles import PROFILES, choose_profile

GB = 2**30


@pytest.mark.parametrize("name", PROFILES)
def test_every_backbone_has_every_profile_but_the_embedded_one_needs_none(name: str) -> None:
    for backbone in family_names():
        choice = choose_profile(name, backbone=backbone, device="cpu")
        assert (choice is None) == (backbone == "tiny")


@pytest.mark.parametrize("backbone", [name for name in family_names() if name != "tiny"])
def test_more_memory_never_gives_coarser_settings(backbone: str) -> None:
    fine = {"none": 0, "int8": 1, "nf4": 2}
    small, large, most = (choose_profile(n, backbone=backbone) for n in ("12gb", "24gb", "max"))
    assert small is not None
    assert large is not None
    assert most is not None
    coarseness = [
        (choice.step.offload != "none", fine[choice.step.quantize])
        for choice in (most, large, small)
    ]
    assert coarseness == sorted(coarseness)
    assert small.fits
    assert large.fits
    assert most.step.settings() == {}


def test_what_flux_comes_to() -> None:
    small, large = (choose_profile(name, backbone="flux") for name in ("12gb", "24gb"))
    assert small is not None
    assert small.step.settings() == {"runtime.quantize": "nf4"}
    assert large is not None
    assert large.step.settings() == {"runtime.quantize": "int8"}
    assert large.memory < 0.9 * 24 * GB


def test_a_laptop_takes_the_small_vae_and_auto_never_does(monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = choose_profile("laptop", backbone="sd2")
    assert laptop is not None
    assert laptop.step.settings() == {"model.vae": "small"}
    for total in (2, 6, 16, 64):
        monkeypatch.setattr(device, "total_memory", lambda _, total=total: total * GB)
        auto = choose_profile("auto", backbone="sd2", device="cpu")
        assert auto is not None
        assert auto.step.vae == "default"
        assert auto.fits == (total >= 6)
        settings = auto.step.settings()
    assert settings == {}


@pytest.mark.parametrize("in_bf16", [True, False])
@pytest.mark.parametrize("backbone", ["sd2", "sdxl", "flux"])
def test_auto_takes_8_bits_on_a_cpu_for_memory_alone(
    backbone: str, in_bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "multiplies_bf16", lambda: in_bf16)
    narrow = profiles.step_bytes(profiles.Step(computes="bf16"), backbone=backbone)
    for total in range(2 * GB, 90 * GB, GB // 2):
        monkeypatch.setattr(device, "total_memory", lambda _, total=total: total)
        choice = choose_profile("auto", backbone=backbone, device="cpu")
        assert choice is not None
        # Where bfloat16 fits, 8 bits would cost a choice of layers and, on processors that multiply in it, save no time.
        assert (choice.step.quantize == "int8") == (narrow > int(total * profiles.SYSTEM_SHARE))


def test_auto_takes_no_format_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "find_spec", lambda _: None)
    monkeypatch.setattr(device, "total_memory", lambda _: 8 * GB)
    monkeypatch.setattr(device, "pick_device", lambda _: torch.device("cuda"))
    choice = choose_profile("auto", backbone="flux")
    assert choice is not None
    assert choice.step.quantize == "none"
    assert choice.step.offload == "sequential"


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ConfigError, match="no profile '8gb'"):
        choose_profile("8gb", backbone="sd2")


def test_info_shows_them_with_their_memory() -> None:
    runner = CliRunner(env={"COLUMNS": "80"})
    shown = runner.invoke(app, ["info", "--backbone", "flux"]).output
    for name in PROFILES:
        assert f"\n {name} " in shown or f"\n{name} " in shown
    assert max(map(len, shown.splitlines())) <= 200
    content = json.loads(runner.invoke(app, ["info", "--backbone", "flux", "--json"]).stdout)
    assert [entry["name"] for entry in content["profiles"]] == list(PROFILES)
