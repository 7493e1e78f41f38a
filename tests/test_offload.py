"""Every backbone with every way of offloading: on a GPU that only knows where things are, and with real numbers on the CPU."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from hypir_cli.config.restore import ModelConfig, RuntimeConfig
from hypir_cli.errors import ConfigError, DeviceError
from hypir_cli.models.execution import module_device
from hypir_cli.models.load import load_model
from hypir_cli.models.placement import (
    compile_networks,
    place,
    quantize_weights,
    repeated_blocks,
)
from tests.builders import BUILDERS, load_built
from tests.fake_gpu import GPU, fake_gpu
from tests.restoring import offloaded, restored, some_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in BUILDERS.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("offload", ["none", "model"])
@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_everything_meets_on_the_gpu(folders, name, offload, dtype):
    backbone = load_built(name, folders[name], dtype=dtype)
    backbone.enable_controls()
    with fake_gpu(backbone):
        place(backbone, device=GPU, offload=offload)
        assert backbone.device == GPU
        image = restored(backbone, some_images())
        assert image.device == GPU
        assert image.dtype == torch.float32
        places = {part: next(m.parameters()).device for part, m in backbone.components().items()}
    away = {part for part, where in places.items() if where == CPU}
    assert places["denoiser"] == places["vae"] == GPU
    # While the denoiser is there, the text encoders are not.
    assert away == ({part for part in places if "text" in part} if offload == "model" else set())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("how", ["model", "sequential"])
@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_offloading_changes_no_bit_and_neither_does_the_rescue_with_it(folders, name, how, dtype):
    images = some_images()
    backbone = load_built(name, folders[name], dtype=dtype)
    backbone.enable_controls()
    usual = restored(backbone, images)
    with torch.inference_mode(), backbone.in_float32():
        rescued = restored(backbone, images)
    assert torch.equal(usual, rescued) == (dtype == torch.float32)

    offloaded(backbone, how)
    assert backbone.dtype == dtype
    assert torch.equal(restored(backbone, images), usual)
    for _ in range(2):
        with torch.inference_mode(), backbone.in_float32():
            assert torch.equal(restored(backbone, images), rescued)
        assert torch.equal(restored(backbone, images), usual)
    waiting = {value.device.type for value in backbone.denoiser.parameters()}
    assert waiting == ({"meta"} if how == "sequential" else {"cpu"})


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("name", ["tiny", "sd2", "flux"])
def test_quantised_weights_travel_too_and_only_they_cannot_be_rescued(folders, name, kind):
    images = some_images()
    backbone = load_built(name, folders[name], dtype=torch.bfloat16)
    backbone.enable_controls()
    quantize_weights(backbone.denoiser, kind)
    usual = restored(backbone, images)
    offloaded(backbone, "sequential")
    assert torch.equal(restored(backbone, images), usual)
    with pytest.raises(DeviceError, match=f"quantised {name} overflows"), backbone.in_float32():
        pass
    with backbone.in_float32("vae"):
        assert next(backbone.components()["vae"].parameters()).dtype == torch.float32


@pytest.mark.parametrize("name", ["tiny", pytest.param("sd2", marks=pytest.mark.slow)])
def test_compiled_networks_still_take_turns(folders, name, monkeypatch):
    # Traced as for any other backend, without a compiler.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    images = some_images()
    backbone = load_built(name, folders[name])
    backbone.enable_controls()
    usual = restored(backbone, images)
    moves = []
    offloaded(backbone, "model")
    compile_networks(backbone)
    backbone.denoiser.register_forward_pre_hook(lambda *_: moves.append("denoiser"))
    assert torch.allclose(restored(backbone, images), usual, atol=1e-5)
    with torch.inference_mode(), backbone.in_float32():
        assert torch.allclose(restored(backbone, images), usual, atol=1e-5)
    assert moves == ["denoiser"] * 2
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["sd2", "sd3", "flux"])
def test_blocks_are_compiled_and_the_whole_denoiser_is_not(folders, name, monkeypatch):
    compiled = []

    def remembered(function, *args, **kwargs):
        compiled.append(getattr(function, "__self__", None))
        return function

    monkeypatch.setattr(torch, "compile", remembered)
    images = some_images()
    backbone = load_built(name, folders[name])
    backbone.enable_controls()
    usual = restored(backbone, images)
    blocks = repeated_blocks(backbone.denoiser)
    compile_networks(backbone)
    halves = list(backbone.components()["vae"].children())
    assert {id(part) for part in compiled} == {id(part) for part in (*blocks, *halves)}
    assert len(compiled) == len(blocks) + len(halves)
    # The small ones of some families have a single block, which is then all there is.
    assert (backbone.denoiser in blocks) == (name == "sd3")
    assert torch.equal(restored(backbone, images), usual)


class Deep(nn.Module):
    """Twelve equal blocks after one of another size, and a list of bare layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ModuleList([Block(3, 8)])
        self.rest = nn.ModuleDict({"blocks": nn.ModuleList(Block(8, 8) for _ in range(12))})
        self.bare = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in (*self.first, *self.rest["blocks"], *self.bare):
            x = block(x)
        return x


class Block(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layer = nn.Linear(before, after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(x))


def test_blocks_that_are_alike_share_one_compilation(monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    torch._dynamo.reset()
    network, x = Deep().eval(), torch.rand(2, 3)
    blocks = repeated_blocks(network)
    assert blocks == list(network.rest["blocks"])
    with torch.inference_mode():
        usual = network(x)
        for block in blocks:
            block.compile()
        assert torch.allclose(network(x), usual, atol=1e-6)
    assert len(graphs) == 1
    torch._dynamo.reset()


def test_compiling_what_visits_layer_by_layer_is_refused_before_anything_is_loaded():
    runtime = RuntimeConfig(compile=True, offload="sequential", device="cpu")
    with pytest.raises(ConfigError, match="cannot be combined") as caught:
        load_model(ModelConfig(), runtime)
    assert "--offload model" in caught.value.hint


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_tile_waits_for_its_device_nowhere_on_its_way(folders, name):
    """A meta tensor has no value to wait for: asking for one, or copying it to the CPU, is an error."""
    backbone = load_built(name, folders[name])
    prompt = backbone.encode_prompts(["a house"])
    meta = torch.device("meta")
    for module in backbone.components().values():
        module.to(meta)
    assert module_device(backbone.denoiser) == meta
    with torch.inference_mode():
        latents = backbone.encode(torch.rand(1, 3, 64, 64, device=meta))
        for timestep in (torch.tensor(200), torch.tensor(200, device=meta)):
            output = backbone.denoise(latents, prompt=prompt.to(meta), timestep=timestep)
            clean = backbone.predict_clean(latents, output, timestep=timestep)
        assert backbone.decode(clean).device == meta
