"""Finding weights: folders, cache, downloads with fallbacks, and what is said when there are none."""

from __future__ import annotations

import shutil
from dataclasses import replace

import huggingface_hub
import pytest

from hypir_cli.config.families import find_family
from hypir_cli.config.family import BackbonePreset
from hypir_cli.errors import BackboneError
from hypir_cli.models import hub
from hypir_cli.models.layout import component_weights, find_weights, missing_parts
from tests.fake_hub import FakeHub, serving

PRESET = BackbonePreset(
    base="first/model",
    fallbacks=("second/model", "third/model"),
    components=("unet", "vae", "tokenizer"),
    lora_repo="some/lora",
    lora_file="lora.pth",
)


def write_base(folder, *, weights="diffusion_pytorch_model.safetensors"):
    for part in ("unet", "vae", "tokenizer"):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        if part != "tokenizer":
            (folder / part / weights).write_bytes(b"weights of " + part.encode())
    (folder / "model_index.json").write_text("{}")
    (folder / "whole-model.ckpt").write_bytes(b"not needed")
    return folder


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base")


@pytest.fixture
def server(tmp_path, monkeypatch):
    constants = huggingface_hub.constants
    with serving(FakeHub()) as fake:
        monkeypatch.setattr(constants, "ENDPOINT", fake.url)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            fake.url + "/{repo_id}/resolve/{revision}/{filename}",
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        huggingface_hub.utils.disable_progress_bars()
        yield fake
        huggingface_hub.utils.enable_progress_bars()


def find(base=None, *, preset=PRESET, revision=None):
    return hub.find_base(base, name="sd2", preset=preset, revision=revision)


def test_a_complete_folder_is_taken_as_it_is(base):
    assert find(str(base)) == base


def test_an_incomplete_folder_says_what_it_lacks(base):
    (base / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    shutil.rmtree(base / "unet")
    with pytest.raises(BackboneError) as caught:
        find(str(base))
    assert "unet/" in caught.value.message
    assert "vae/*.safetensors" in caught.value.message


def test_a_folder_that_is_not_there_is_no_hub_id(tmp_path):
    with pytest.raises(BackboneError, match="there is no folder"):
        find(str(tmp_path / "nothing"))


def test_a_missing_shard_makes_a_folder_incomplete(base):
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (base / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text("{}")
    for number in (1, 2):
        name = f"diffusion_pytorch_model-0000{number}-of-00003.safetensors"
        (base / "unet" / name).write_bytes(b"")
    assert missing_parts(base, PRESET.components) == ["unet/*.safetensors"]
    (base / "unet" / "diffusion_pytorch_model-00003-of-00003.safetensors").write_bytes(b"")
    assert missing_parts(base, PRESET.components) == []


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["model.safetensors", "model.fp16.safetensors", "pytorch_model.bin"], (None, True)),
        (["model.fp16.safetensors", "pytorch_model.bin"], ("fp16", True)),
        (["pytorch_model.bin", "pytorch_model.fp16.bin"], (None, False)),
        (["diffusion_pytorch_model.fp16.bin"], ("fp16", False)),
        (["diffusion_pytorch_model.safetensors.index.fp16.json"], ("fp16", True)),
    ],
)
def test_plain_safetensors_are_preferred(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).write_bytes(b"")
    found = find_weights(tmp_path)
    assert found is not None
    assert (found.variant, found.safetensors) == expected


def test_a_component_without_weights_is_an_error_that_names_it(tmp_path):
    with pytest.raises(BackboneError, match="unet"):
        component_weights(tmp_path, "unet")


def test_a_download_brings_what_is_needed_and_no_more_and_then_works_offline(server, base):
    server.repos["first/model"] = base
    (base / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half")
    (base / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    folder = find()
    assert missing_parts(folder, PRESET.components) == []
    fetched = {name.partition(":")[2] for name in server.downloads}
    assert "unet/diffusion_pytorch_model.safetensors" in fetched
    assert not {name for name in fetched if "fp16" in name or name.endswith((".bin", ".ckpt"))}
    server.repos.clear()
    server.broken.add("first/model")
    assert find() == folder
    assert hub.cached_base(PRESET) == folder


def test_a_repository_with_half_precision_weights_alone_will_do(server, tmp_path):
    name = "diffusion_pytorch_model.fp16.safetensors"
    server.repos["first/model"] = write_base(tmp_path / "half", weights=name)
    assert (find() / "unet" / name).is_file()


def test_a_repository_with_pickles_alone_will_do(server, tmp_path):
    name = "diffusion_pytorch_model.bin"
    server.repos["first/model"] = write_base(tmp_path / "old", weights=name)
    assert (find() / "vae" / name).is_file()


def test_fallbacks_are_tried_in_order_when_an_id_is_gone(server, base):
    server.repos["third/model"] = base
    assert "third--model" in str(find())


def test_ids_that_are_all_gone_are_listed_with_the_way_out(server):
    with pytest.raises(BackboneError) as caught:
        find()
    for repo in ("first/model", "second/model", "third/model"):
        assert repo in caught.value.message
    assert "--base" in caught.value.hint


def test_a_base_that_the_user_names_has_no_fallbacks(server, base):
    server.repos["second/model"] = base
    with pytest.raises(BackboneError, match="other/model"):
        find("other/model")


def test_a_gated_id_says_how_to_get_in(server):
    server.gated.add("first/model")
    with pytest.raises(BackboneError, match="gated") as caught:
        find()
    assert "huggingface.co/first/model" in caught.value.hint
    assert "hypir fetch sd2" in caught.value.hint


def test_without_a_network_the_way_offline_is_shown(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BackboneError, match="cannot be downloaded") as caught:
        find()
    assert str(huggingface_hub.constants.HF_HUB_CACHE) in caught.value.message
    assert "hypir fetch sd2" in caught.value.hint
    assert "tiny needs no download" in caught.value.hint


def test_a_hub_that_does_not_answer_is_out_of_reach(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BackboneError, match="cannot be downloaded"):
        find()


def test_a_hub_that_breaks_is_out_of_reach(server):
    server.broken.add("first/model")
    with pytest.raises(BackboneError, match="cannot be downloaded"):
        find()


def test_a_repository_in_another_layout_says_what_it_lacks(server, tmp_path):
    (tmp_path / "single").mkdir()
    (tmp_path / "single" / "model.ckpt").write_bytes(b"")
    server.repos["first/model"] = tmp_path / "single"
    with pytest.raises(BackboneError, match="not in diffusers layout"):
        find()


def test_a_lora_is_found_as_a_file_on_the_hub_or_by_the_preset(server, tmp_path):
    file = tmp_path / "own.safetensors"
    file.write_bytes(b"own")
    server.repos["some/lora"] = tmp_path
    (tmp_path / "lora.pth").write_bytes(b"public")
    assert hub.find_lora(str(file), name="sd2", preset=PRESET) == file
    named = hub.find_lora("some/lora:own.safetensors", name="sd2", preset=PRESET)
    assert named is not None
    assert named.read_bytes() == b"own"
    assert hub.cached_lora(PRESET) is None
    public = hub.find_lora(None, name="sd2", preset=PRESET)
    assert public is not None
    assert public.read_bytes() == b"public"
    server.repos.clear()
    assert hub.find_lora(None, name="sd2", preset=PRESET) == public == hub.cached_lora(PRESET)


def test_a_backbone_without_a_public_lora_has_none():
    preset = replace(PRESET, lora_repo="", lora_file="")
    assert hub.find_lora(None, name="sdxl", preset=preset) is None
    assert hub.cached_lora(preset) is None


@pytest.mark.parametrize(
    "lora", ["missing.safetensors", "no/such:lora.pth", "some/lora:absent.pth"]
)
def test_a_lora_that_is_nowhere_is_an_error(server, tmp_path, lora):
    server.repos["some/lora"] = tmp_path
    with pytest.raises(BackboneError) as caught:
        hub.find_lora(lora, name="sd2", preset=PRESET)
    assert caught.value.hint


def test_a_gated_or_unreachable_lora_is_an_error(server):
    server.gated.add("some/lora")
    with pytest.raises(BackboneError, match="gated"):
        hub.find_lora(None, name="sd2", preset=PRESET)
    server.gated.clear()
    server.broken.add("some/lora")
    with pytest.raises(BackboneError, match="cannot be downloaded"):
        hub.find_lora(None, name="sd2", preset=PRESET)


def test_fetching_sd2_asks_for_the_ids_of_its_preset(server, base, tmp_path):
    preset = find_family("sd2").preset
    for part in ("text_encoder", "scheduler"):
        (base / part).mkdir()
        (base / part / "config.json").write_text("{}")
    (base / "text_encoder" / "model.safetensors").write_bytes(b"")
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / preset.lora_file).write_bytes(b"lora")
    server.repos = {preset.fallbacks[0]: base, preset.lora_repo: tmp_path / "lora"}
    fetched = hub.fetch("sd2")
    assert preset.fallbacks[0].replace("/", "--") in str(fetched.base)
    assert fetched.lora is not None
    assert fetched.lora.read_bytes() == b"lora"


def test_the_embedded_backbone_has_nothing_to_fetch():
    with pytest.raises(BackboneError, match="ships inside"):
        hub.fetch("tiny")


def test_a_vae_comes_from_the_hub_once_and_is_then_there_offline(server, tmp_path):
    repository = tmp_path / "taesd"
    repository.mkdir()
    (repository / "config.json").write_text("{}")
    (repository / "diffusion_pytorch_model.safetensors").write_bytes(b"weights")
    (repository / "taesd_encoder.pth").write_bytes(b"not needed")
    server.repos["some/taesd"] = repository
    folder = hub.find_vae("some/taesd", name="sd2")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
    server.repos.clear()
    sent = list(server.downloads)
    assert hub.find_vae("some/taesd", name="sd2") == folder
    assert server.downloads == sent


def test_a_vae_that_is_gone_or_gated_is_said(server, tmp_path):
    with pytest.raises(BackboneError, match="the hub has no some/vae"):
        hub.find_vae("some/vae", name="sd2")
    server.repos["some/vae"] = tmp_path
    server.gated.add("some/vae")
    with pytest.raises(BackboneError, match="gated"):
        hub.find_vae("some/vae", name="sd2")
