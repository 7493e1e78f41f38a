"""Quantised denoisers and offloaded networks, as far as a CPU can show them."""

import gc
import weakref

import pytest
import torch
from torch import nn

from hypir_cli.errors import BackboneError, CheckpointError, ConfigError, DeviceError
from hypir_cli.models import placement
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.execution import is_quantized, module_device
from hypir_cli.models.lora import add_fresh_lora, merge_lora, trainable_parameters
from hypir_cli.models.placement import (
    place,
    place_text_encoders,
    quantizable_layers,
    quantize_weights,
    stream_layers,
    take_turns,
)
from tests.pipelines import lora_state, random_lora
from tests.tiny_families import save_flux, save_flux2, save_sd3, save_sdxl

SAVERS = {"sdxl": save_sdxl, "sd3": save_sd3, "flux": save_flux, "flux2": save_flux2}
TOLERANCE = {"int8": 0.02, "fp8": 0.1, "nf4": 0.35}
"""Largest relative error of a tiny random denoiser's output; random weights are the hardest case."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVERS.items()}


def output(backbone, prompt):
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    return backbone.denoise(latents, prompt=prompt, timestep=torch.tensor(200))


@pytest.mark.parametrize("kind", ["int8", "fp8", "nf4"])
@pytest.mark.parametrize("name", list(SAVERS))
def test_a_quantised_denoiser_stays_close_and_takes_less_memory(folders, name, kind):
    backbone = load_backbone(name, base=str(folders[name]))
    prompt = backbone.encode_prompts(["a house"])
    layers = quantizable_layers(backbone.denoiser)
    with torch.inference_mode():
        exact = output(backbone, prompt)
    quantize_weights(backbone.denoiser, kind)
    with torch.inference_mode():
        close = output(backbone, prompt)
    error = float((close - exact).norm() / exact.norm())
    assert 0 < error < TOLERANCE[kind]
    assert is_quantized(backbone.denoiser)
    assert backbone.dtype == torch.float32
    assert layers
    assert all("block" in path for path in layers)


@pytest.mark.parametrize("kind", ["int8", "fp8", "nf4"])
def test_adapters_train_on_a_quantised_base(folders, kind):
    backbone = load_backbone("flux", base=str(folders["flux"]))
    prompt = backbone.encode_prompts(["a house"])
    add_fresh_lora(backbone.denoiser, rank=2, alpha=2, targets=backbone.traits.lora_targets, seed=0)
    quantize_weights(backbone.denoiser, kind)
    parameters = trainable_parameters(backbone.denoiser)
    assert {value.dtype for value in parameters} == {torch.float32}
    optimizer = torch.optim.AdamW(parameters, lr=0.02)
    losses = []
    for _ in range(4):
        loss = output(backbone, prompt).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_a_lora_cannot_be_merged_into_quantised_weights(folders):
    donor = load_backbone("flux", base=str(folders["flux"]))
    state = lora_state(random_lora(donor), backbone="flux")
    backbone = load_backbone("flux", base=str(folders["flux"]))
    quantize_weights(backbone.denoiser, "int8")
    with pytest.raises(CheckpointError, match="quantised"):
        merge_lora(backbone.denoiser, state)


def test_none_leaves_every_weight_as_it_is(folders):
    backbone = load_backbone("flux", base=str(folders["flux"]))
    quantize_weights(backbone.denoiser, "none")
    assert not is_quantized(backbone.denoiser)


def test_a_quantised_network_that_overflows_says_so_instead_of_going_to_float32(folders):
    backbone = load_backbone("flux", base=str(folders["flux"]))
    quantize_weights(backbone.denoiser, "int8")
    with pytest.raises(DeviceError, match="quantised flux overflows"), backbone.in_float32():
        pass


def test_a_device_that_lacks_the_format_is_named(folders, monkeypatch):
    def unsupported(*args):
        raise TypeError("Cannot convert to float8\nmore")

    monkeypatch.setattr(placement, "_to_torchao", unsupported)
    backbone = load_backbone("flux", base=str(folders["flux"]))
    with pytest.raises(DeviceError, match="cannot store weights as fp8: Cannot convert") as caught:
        quantize_weights(backbone.denoiser, "fp8")
    assert "\n" not in caught.value.message


def test_a_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(placement._PACKAGES, "int8", "a_package_that_is_not_there")
    with pytest.raises(BackboneError, match="needs the package a_package") as caught:
        quantize_weights(nn.Linear(2, 2), "int8")
    assert "pip install" in caught.value.hint


def test_a_network_without_blocks_cannot_be_quantised():
    with pytest.raises(BackboneError, match="no blocks"):
        quantize_weights(nn.Linear(2, 2), "int8")


@pytest.mark.parametrize("name", list(SAVERS))
@pytest.mark.parametrize("kind", ["none", "int8", "nf4"])
def test_streaming_layers_changes_no_result(folders, name, kind):
    backbone = load_backbone(name, base=str(folders[name]))
    quantize_weights(backbone.denoiser, kind)
    with torch.inference_mode():
        prompt = backbone.encode_prompts(["a house"])
        expected = output(backbone, prompt)
    parts = backbone.components()
    for part in parts:
        if part != "vae":
            stream_layers(parts[part], device=torch.device("cpu"))
    with torch.inference_mode():
        assert torch.equal(backbone.encode_prompts(["a house"]).sequence, prompt.sequence)
        assert torch.equal(output(backbone, prompt), expected)


class Traveller(nn.Module):
    """A network that remembers where it was sent."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.place = torch.device("cpu")

    def to(self, device):
        self.place = torch.device(device)
        return self

    def parameters(self, recurse=True):
        return (
            iter([torch.empty(1, device="meta")])
            if self.place.type == "meta"
            else super().parameters()
        )

    def forward(self):
        return self.place


def test_networks_take_turns_on_the_device():
    device = torch.device("meta")
    encoder, denoiser = Traveller(), Traveller()
    take_turns([encoder, denoiser], device=device)
    assert module_device(encoder) == module_device(denoiser) == device
    assert encoder() == device
    assert denoiser.place.type == "cpu"
    assert denoiser() == device
    assert encoder.place.type == "cpu"


def test_a_released_text_encoder_leaves_memory_although_it_took_turns():
    encoder, denoiser = Traveller(), Traveller()
    take_turns([encoder, denoiser], device=torch.device("meta"))
    gone = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert gone() is None
    denoiser()


def test_too_little_memory_names_the_ways_out(folders, monkeypatch):
    def full(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    backbone = load_backbone("flux", base=str(folders["flux"]))
    monkeypatch.setattr(type(backbone.denoiser), "to", full)
    with pytest.raises(DeviceError, match="too little memory") as caught:
        place(backbone, device="cpu")
    assert "--offload" in caught.value.hint
    assert "--quantize" in caught.value.hint


def test_text_encoders_can_go_first_and_alone(folders):
    backbone = load_backbone("flux", base=str(folders["flux"]))
    moved = []
    for name, module in backbone.components().items():
        module.to = lambda device, name=name: moved.append(name)
    place_text_encoders(backbone, device="cpu")
    assert moved == ["text_encoder", "text_encoder_2"]


def test_offloading_from_the_cpu_to_itself_is_refused(folders):
    backbone = load_backbone("flux", base=str(folders["flux"]))
    with pytest.raises(ConfigError, match="other than the CPU"):
        place(backbone, device="cpu", offload="model")
    place(backbone, device="cpu")
