"""Own metrics and the bridge against pyiqa, without network: weights come from packages or are random."""

from __future__ import annotations

import socket
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from skimage import data
from torch import Tensor, nn

from hypir_cli.config.evaluate import MeasureConfig
from hypir_cli.errors import HypirError
from hypir_cli.evaluate import bridge
from hypir_cli.evaluate.registry import find_metric, load_metric
from hypir_cli.models import reach
from hypir_cli.models.perceptual import vgg
from hypir_cli.models.perceptual.distances import FeatureDistance
from hypir_cli.pixels.metrics import niqe as own_niqe
from hypir_cli.pixels.metrics.fidelity import psnr, ssim

CPU = torch.device("cpu")


def photograph(rows: slice, columns: slice) -> Tensor:
    pixels = data.astronaut()[rows, columns].astype(np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0)


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    gt = photograph(slice(0, 96), slice(150, 278))
    return (gt + 0.05 * torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))).clamp(
        0, 1
    ), gt


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network and empty caches; the caches are in the folder returned."""
    bridge.catalogue()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("pyiqa.utils.download_util.DEFAULT_CACHE_DIR", str(tmp_path / "pyiqa"))
    return tmp_path


def pyiqa_metric(name: str, **options: object):
    bridge.catalogue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pyiqa import create_metric

        return create_metric(name, device=CPU, **options)


def loaded(name: str, timeout: float = 1.0):
    return load_metric(find_metric(name), MeasureConfig(), device=CPU, timeout=timeout)


def test_psnr_and_ssim_agree_with_pyiqa_on_rgb_and_luma(pair):
    options = {"test_y_channel": True, "color_space": "ycbcr"}
    assert float(psnr(*pair)) == pytest.approx(float(pyiqa_metric("psnr")(*pair)), abs=1e-3)
    assert float(psnr(*pair, color_space="y")) == pytest.approx(
        float(pyiqa_metric("psnr", **options)(*pair)), abs=1e-3
    )
    # pyiqa rounds its planes to whole levels for SSIM, hence the tolerance.
    assert float(ssim(*pair)) == pytest.approx(float(pyiqa_metric("ssimc")(*pair)), abs=1e-3)
    assert float(ssim(*pair, color_space="y")) == pytest.approx(
        float(pyiqa_metric("ssim", **options)(*pair)), abs=3e-3
    )


def test_niqe_agrees_with_pyiqa_given_the_same_model_of_photographs(tmp_path):
    mean, covariance = own_niqe._pristine()
    path = tmp_path / "model.mat"
    scipy.io.savemat(path, {"mu_prisparam": mean.numpy(), "cov_prisparam": covariance.numpy()})
    theirs = pyiqa_metric("niqe", pretrained_model_path=str(path))
    image = photograph(slice(0, 192), slice(100, 292))
    assert float(own_niqe.niqe(image)) == pytest.approx(float(theirs(image)), rel=1e-3)


def test_shift_tolerant_lpips_agrees_with_pyiqa_on_the_published_weights(pair):
    weights = vgg._package_file("stlpips-pytorch", "weights/vST0.0/vgg_shift_tolerant.pth")
    small = [image[..., :64, :64] for image in pair]
    theirs = float(pyiqa_metric("stlpips-vgg", pretrained_model_path=str(weights))(*small))
    assert loaded("stlpips-vgg").score(*small) == pytest.approx(theirs, rel=1e-4)


def test_the_bridge_gives_pyiqas_figure_with_weights_from_a_package(offline, pair):
    weights = vgg._package_file("stlpips-pytorch", "weights/vST0.0/alex_shift_tolerant.pth")
    theirs = float(pyiqa_metric("stlpips", pretrained_model_path=str(weights))(*pair))
    assert theirs > 0
    assert loaded("stlpips").score(*pair) == pytest.approx(theirs, rel=1e-6)


def test_lpips_through_the_bridge_follows_its_formula_on_random_weights(offline, monkeypatch, pair):
    # The published weights need a download; the arithmetic around them does not.
    features = random_alexnet()
    holder = nn.Module()
    holder.features = features
    monkeypatch.setattr("torchvision.models.alexnet", lambda **_: holder)
    heads = [torch.rand(1, width, 1, 1) for width in (64, 192, 384, 256, 256)]
    cache = offline / "pyiqa"
    cache.mkdir()
    torch.save(
        {f"lin{level}.model.1.weight": head for level, head in enumerate(heads)},
        cache / "LPIPS_v0.1_alex-df73285e.pth",
    )
    expected = FeatureDistance(
        lambda images: slices(features, images), prepare=vgg.lpips_input, weights=heads
    )
    assert loaded("lpips").score(*pair) == pytest.approx(float(expected(*pair)), rel=1e-4)


def random_alexnet() -> nn.Sequential:
    torch.manual_seed(0)
    widths = [
        (3, 64, 11, 4, 2),
        (64, 192, 5, 1, 2),
        (192, 384, 3, 1, 1),
        (384, 256, 3, 1, 1),
        (256, 256, 3, 1, 1),
    ]
    layers: list[nn.Module] = []
    for index, (into, out, side, stride, padding) in enumerate(widths):
        layers += [nn.Conv2d(into, out, side, stride=stride, padding=padding), nn.ReLU()]
        if index < 2:
            layers.append(nn.MaxPool2d(3, stride=2))
    return nn.Sequential(*layers)


def slices(features: nn.Sequential, images: Tensor) -> list[Tensor]:
    found = []
    for index, layer in enumerate(features):
        images = layer(images)
        if index in (1, 4, 7, 9, 11):
            found.append(images)
    return found


def test_a_metric_without_its_weights_is_an_error_that_names_it(offline):
    with pytest.raises(HypirError, match=r"metric musiq: its weights cannot be had .*no network"):
        loaded("musiq")


def test_no_connection_is_tried_when_the_user_wants_none(offline, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(HypirError, match="metric musiq"):
        loaded("musiq")


def test_a_server_that_never_answers_counts_as_no_network_after_the_timeout(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        assert reach.is_offline(0.3)
        assert time.monotonic() - start < 5


def test_the_network_is_as_it_was_afterwards(offline):
    from huggingface_hub import constants

    before = (socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE)
    with reach.limited_network(3.0):
        assert socket.getdefaulttimeout() == 3.0
        assert constants.HF_HUB_OFFLINE
    assert (socket.getdefaulttimeout(), constants.HF_HUB_OFFLINE) == before


def test_a_missing_package_of_a_metric_is_named_with_the_way_out(offline, monkeypatch):
    def without(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'icecream'", name="icecream")

    monkeypatch.setattr("pyiqa.create_metric", without)
    with pytest.raises(HypirError, match="metric musiq: it needs icecream") as caught:
        loaded("musiq")
    assert caught.value.hint == "pip install icecream"


def test_what_setuptools_dropped_of_pkg_resources_is_there_while_a_metric_is_made(
    offline, monkeypatch
):
    def importing(*_: object, **__: object) -> None:
        from pkg_resources import packaging

        assert packaging.version.parse("1.7.1") < packaging.version.parse("2")

    known = "pkg_resources" in sys.modules
    monkeypatch.setattr("pyiqa.create_metric", importing)
    loaded("musiq")
    assert ("pkg_resources" in sys.modules) == known


def test_set_metrics_get_the_very_files_that_were_paired(offline, monkeypatch, tmp_path):
    seen: list[list[str]] = []

    def fake(*_: object, **__: object):
        def fid(restored: str, gt: str, **_: object) -> float:
            seen.extend(
                sorted(path.resolve().name for path in Path(folder).iterdir())
                for folder in (restored, gt)
            )
            return 12.5

        return fid

    monkeypatch.setattr("pyiqa.create_metric", fake)
    for name in ("a.png", "b.png", "left-out.png", "c.jpg"):
        (tmp_path / name).touch()
    metric = load_metric(find_metric("fid"), MeasureConfig(), device=CPU, timeout=1.0)
    assert metric.score_set([tmp_path / "a.png", tmp_path / "b.png"], [tmp_path / "c.jpg"]) == 12.5
    assert seen == [["a.png", "b.png"], ["c.jpg"]]
