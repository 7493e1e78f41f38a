"""LoRA files of every known kind, merged and attached: the same network, or an error that names the keys."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft import inject_adapter_in_model as inject
from safetensors.torch import save_file
from torch import nn

from hypir_cli.config.families import find_family
from hypir_cli.config.restore import ModelConfig
from hypir_cli.errors import CheckpointError, ConfigError
from hypir_cli.models.checkpoint import CheckpointInfo, save_tensors
from hypir_cli.models.hub import find_lora
from hypir_cli.models.load import completed
from hypir_cli.models.lora import (
    add_fresh_lora,
    attach_lora,
    load_lora_state_dict,
    lora_state_dict,
    merge_lora,
    read_lora,
    save_lora,
    target_modules,
    trainable_parameters,
)

TARGETS = ("to_q", "to_out.0", "conv", "conv_out")


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(6, 6, bias=False)
        self.to_k = nn.Linear(6, 6, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(6, 6), nn.Identity()])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = Attention()
        self.conv = nn.Conv2d(6, 6, 3, padding=1, stride=2)
        self.conv_out = nn.Conv2d(6, 6, 1)


class Net(nn.Module):
    """Paths like a U-Net's: a list of blocks, and a `conv_out` of its own beside those of the blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.conv_out = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x):
        for block in self.blocks:
            x = block.conv_out(block.conv(x))
            rows = x.flatten(2).transpose(1, 2)
            attn = block.attn
            rows = attn.to_out[0](attn.to_q(rows) * attn.to_k(rows)) + rows
            x = rows.transpose(1, 2).reshape(x.shape)
        return self.conv_out(x)


def net():
    torch.manual_seed(0)
    return Net()


def picture():
    return torch.randn(2, 6, 16, 12, generator=torch.Generator().manual_seed(1))


def randomised(model):
    generator = torch.Generator().manual_seed(2)
    for value in trainable_parameters(model):
        value.data.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    return model


def adapted(*, rank=2, alpha=2.0):
    model = net()
    add_fresh_lora(model, rank=rank, alpha=alpha, targets=TARGETS, seed=0)
    return randomised(model)


@pytest.fixture
def model():
    return adapted()


def result_of(path, *, merge, scale=1.0):
    model = net()
    (merge_lora if merge else attach_lora)(model, read_lora(path), scale=scale)
    with torch.no_grad():
        return model(picture())


def expect(model, path):
    """Both ways of using the file give the output of the model it was made from."""
    with torch.no_grad():
        expected = model(picture())
    assert not torch.allclose(expected, net()(picture()), atol=1e-2)
    for merge in (True, False):
        error = (result_of(path, merge=merge) - expected).abs().max()
        assert error < 1e-5 * max(1.0, float(expected.abs().max())), merge


def reference_keys(model):
    return {
        key.replace(".weight", ".default.weight"): value
        for key, value in lora_state_dict(model).items()
    }


def test_the_releases_format_is_read(model, tmp_path):
    torch.save(reference_keys(model), tmp_path / "lora.pth")
    expect(model, tmp_path / "lora.pth")
    state = read_lora(tmp_path / "lora.pth")
    assert state.info.lora_rank == 2
    assert state.info.lora_alpha == 2.0
    assert set(state.info.lora_targets) == set(TARGETS)


def test_our_own_file_keeps_alpha_targets_and_facts(tmp_path):
    model = adapted(rank=2, alpha=5.0)
    info = CheckpointInfo(backbone="x", lora_alpha=5.0, lora_targets=TARGETS, training_step=9)
    save_lora(tmp_path / "lora.safetensors", lora_state_dict(model), info=info)
    expect(model, tmp_path / "lora.safetensors")
    state = read_lora(tmp_path / "lora.safetensors")
    assert (state.info.training_step, state.info.lora_rank) == (9, 2)
    assert state.info.lora_targets == TARGETS


def peft_model(**options):
    config = LoraConfig(r=2, target_modules=r".*(to_q|to_out\.0|conv|conv_out)", **options)
    model = get_peft_model(net(), config)
    generator = torch.Generator().manual_seed(2)
    for key, value in model.named_parameters():
        if "lora_" in key:
            value.data.copy_(torch.randn(value.shape, generator=generator) * 0.3)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {"lora_alpha": 2},
        {"lora_alpha": 7},
        {"lora_alpha": 3, "alpha_pattern": {"to_q": 6}},
        {"lora_alpha": 3, "rank_pattern": {r"attn.to_q": 4}},
        {"lora_alpha": 3, "use_rslora": True},
    ],
    ids=["plain", "alpha", "alpha pattern", "rank pattern", "rank-stabilised"],
)
def test_what_peft_saves_is_read_with_its_settings(tmp_path, options):
    model = peft_model(**options)
    model.save_pretrained(tmp_path)
    expect(model, tmp_path / "adapter_model.safetensors")


@pytest.mark.parametrize("prefix", ["unet", "transformer"])
@pytest.mark.parametrize(("down", "up"), [("lora_A", "lora_B"), ("lora.down", "lora.up")])
def test_diffusers_names_are_read(model, tmp_path, prefix, down, up):
    tensors = {
        f"{prefix}.{key.replace('lora_A', down).replace('lora_B', up)}": value.contiguous()
        for key, value in lora_state_dict(model).items()
    }
    save_file(tensors, tmp_path / "lora.safetensors")
    expect(model, tmp_path / "lora.safetensors")


def test_the_alpha_in_diffusers_header_is_used(tmp_path):
    model = adapted(alpha=6.0)
    tensors = {f"unet.{key}": value for key, value in lora_state_dict(model).items()}
    header = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 6})}
    save_file(tensors, tmp_path / "lora.safetensors", metadata=header)
    expect(model, tmp_path / "lora.safetensors")
    broken = {"lora_adapter_metadata": "{"}
    save_file(tensors, tmp_path / "broken.safetensors", metadata=broken)
    with pytest.raises(CheckpointError, match="not valid JSON"):
        read_lora(tmp_path / "broken.safetensors")


def test_kohya_names_and_alphas_are_read(tmp_path):
    model = adapted(rank=2, alpha=3.0)
    tensors = {}
    for key, value in lora_state_dict(model).items():
        module, _, half = key.rpartition(".lora_")
        flat = "lora_unet_" + module.replace(".", "_")
        tensors[f"{flat}.lora_{'down' if half[0] == 'A' else 'up'}.weight"] = value.contiguous()
        tensors[f"{flat}.alpha"] = torch.tensor(3.0)
    save_file(tensors, tmp_path / "lora.safetensors")
    expect(model, tmp_path / "lora.safetensors")


def test_ranks_that_differ_between_layers_stay_with_their_layers(tmp_path):
    """The pair `conv_out` and `blocks.0.conv_out` is where patterns of endings go wrong."""
    ranks = {"conv_out": 3, "blocks.0.conv_out": 1, "blocks.1.attn.to_q": 2}
    alphas = {"conv_out": 1.0, "blocks.0.conv_out": 4.0, "blocks.1.attn.to_q": 2.0}
    base = dict(net().named_modules())
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name, rank in ranks.items():
        weight = base[name].weight
        kernel = (1,) * (weight.ndim - 2)
        shapes = {"A": (rank, *weight.shape[1:]), "B": (weight.shape[0], rank, *kernel)}
        for half, shape in shapes.items():
            tensors[f"{name}.lora_{half}.weight"] = torch.randn(shape, generator=generator)
    info = CheckpointInfo(lora_targets=("blocks.0.conv_out", "blocks.1.attn.to_q"))
    path = tmp_path / "lora.safetensors"
    save_lora(path, tensors, info=info, alphas=alphas)
    state = read_lora(path)
    assert state.ranks == ranks
    assert state.info.lora_rank is None
    assert {name: state.alphas[name] for name in alphas} == alphas
    assert torch.allclose(result_of(path, merge=True), result_of(path, merge=False), atol=1e-4)


def test_a_convolution_kernel_of_one_and_a_matrix_are_the_same(model, tmp_path):
    tensors = lora_state_dict(model)
    squeezed = {
        key: value[..., 0, 0] if "blocks.0.conv_out" in key else value
        for key, value in tensors.items()
    }
    info = CheckpointInfo(lora_targets=TARGETS)
    save_lora(tmp_path / "lora.safetensors", squeezed, info=info)
    expect(model, tmp_path / "lora.safetensors")


def test_strength_scales_the_update(model, tmp_path):
    path = tmp_path / "lora.safetensors"
    save_lora(path, lora_state_dict(model), info=CheckpointInfo(lora_targets=TARGETS))
    plain = net()
    merged = net()
    merge_lora(merged, read_lora(path), scale=0.5)
    full = net()
    merge_lora(full, read_lora(path))
    half = (merged.conv_out.weight - plain.conv_out.weight) * 2
    assert torch.allclose(half, full.conv_out.weight - plain.conv_out.weight, atol=1e-5)
    halves = [result_of(path, merge=merge, scale=0.5) for merge in (True, False)]
    assert torch.allclose(*halves, atol=1e-5)


def test_merging_into_half_precision_rounds_once(model, tmp_path):
    path = tmp_path / "lora.safetensors"
    save_lora(path, lora_state_dict(model), info=CheckpointInfo(lora_targets=TARGETS))
    exact, half = net(), net().to(torch.bfloat16)
    exact.load_state_dict(half.state_dict())
    merge_lora(exact, read_lora(path))
    merge_lora(half, read_lora(path))
    assert torch.equal(half.conv_out.weight, exact.conv_out.weight.to(torch.bfloat16))


def test_adapters_are_float32_beside_a_half_precision_base():
    model = net().to(torch.bfloat16)
    add_fresh_lora(model, rank=2, alpha=2, targets=TARGETS, seed=0)
    assert {value.dtype for value in trainable_parameters(model)} == {torch.float32}
    assert model.conv_out.base_layer.weight.dtype == torch.bfloat16
    assert model(picture().to(torch.bfloat16)).dtype == torch.bfloat16


def test_a_fresh_adapter_is_gaussian_of_one_over_rank_and_zero():
    model = net()
    add_fresh_lora(model, rank=64, alpha=64, targets=("conv",), seed=0)
    tensors = lora_state_dict(model)
    downs = torch.cat([value.flatten() for key, value in tensors.items() if "lora_A" in key])
    assert float(downs.std()) == pytest.approx(1 / 64, rel=0.05)
    assert abs(float(downs.mean())) < 1e-3
    assert not any(value.any() for key, value in tensors.items() if "lora_B" in key)


def test_names_are_the_base_models_whatever_wraps_it(model):
    keys = set(lora_state_dict(model))
    assert "blocks.1.attn.to_out.0.lora_A.weight" in keys
    assert len(keys) == 2 * 9
    wrapped = nn.Sequential()
    wrapped.add_module("module", model)
    assert set(lora_state_dict(wrapped)) == keys


def test_a_state_goes_back_into_live_adapters(model):
    state = {key: value.clone() for key, value in lora_state_dict(model).items()}
    other = net()
    add_fresh_lora(other, rank=2, alpha=2, targets=TARGETS, seed=5)
    load_lora_state_dict(other, state)
    assert torch.equal(other(picture()), model(picture()))
    state["surplus"] = state.pop("conv_out.lora_A.weight")
    with pytest.raises(CheckpointError) as caught:
        load_lora_state_dict(other, state, source="checkpoint 7")
    for name in ("checkpoint 7", "surplus", "conv_out.lora_A.weight"):
        assert name in caught.value.message


def test_an_incomplete_release_file_says_which_layers_are_missing(model, tmp_path):
    tensors = reference_keys(model)
    for half in ("A", "B"):
        del tensors[f"blocks.1.conv.lora_{half}.default.weight"]
    torch.save(tensors, tmp_path / "lora.pth")
    with pytest.raises(CheckpointError, match=r"1 missing \(blocks\.1\.conv\)"):
        result_of(tmp_path / "lora.pth", merge=True)


def test_half_an_adapter_is_refused(model, tmp_path):
    tensors = reference_keys(model)
    del tensors["conv_out.lora_B.default.weight"]
    torch.save(tensors, tmp_path / "lora.pth")
    with pytest.raises(CheckpointError, match=r"missing conv_out\.lora_B\.weight"):
        read_lora(tmp_path / "lora.pth")


def test_files_that_are_no_plain_lora_are_refused(model, tmp_path):
    torch.save(net().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="holds no LoRA") as caught:
        read_lora(tmp_path / "weights.pth")
    assert "more" in caught.value.message
    tensors = reference_keys(model) | {"conv_out.lora_magnitude_vector": torch.ones(3)}
    torch.save(tensors, tmp_path / "dora.pth")
    with pytest.raises(CheckpointError, match="lora_magnitude_vector"):
        read_lora(tmp_path / "dora.pth")


def test_targets_are_whole_endings_and_must_match_something():
    model = net()
    assert target_modules(model, ["conv"]) == ["blocks.0.conv", "blocks.1.conv"]
    assert len(target_modules(model, ["conv_out"])) == 3
    with pytest.raises(ConfigError, match="to_z match no layer"):
        target_modules(model, ["to_q", "to_z"])
    with pytest.raises(ConfigError, match="none given"):
        target_modules(model, [])


def test_a_quantised_base_cannot_take_a_merge(model, tmp_path):
    path = tmp_path / "lora.safetensors"
    save_lora(path, lora_state_dict(model), info=CheckpointInfo(lora_targets=TARGETS))
    quantised = net()
    layer = quantised.blocks[0].attn.to_q
    layer.weight = nn.Parameter(layer.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(CheckpointError, match="quantised"):
        merge_lora(quantised, read_lora(path))


def test_our_forward_is_pefts_own(model):
    """The injected layers compute what peft's own injection computes with the same tensors."""
    other = inject(LoraConfig(r=2, lora_alpha=2, target_modules=list(TARGETS)), net())
    load_lora_state_dict(other, lora_state_dict(model))
    assert torch.equal(other(picture()), model(picture()))


@pytest.mark.parametrize("prefix", ["diffusion_model.", "model.diffusion_model."])
def test_diffusion_model_before_the_names_is_stripped(tmp_path, prefix):
    save_file(
        {
            f"{prefix}block.attn.to_q.lora_A.weight": torch.ones(2, 6),
            f"{prefix}block.attn.to_q.lora_B.weight": torch.ones(6, 2),
        },
        tmp_path / "UPPER.SAFETENSORS",
    )
    assert read_lora(tmp_path / "UPPER.SAFETENSORS").modules == ("block.attn.to_q",)


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight", "text encoder"),
        ("text_encoder.text_model.encoder.layers.0.q_proj.lora_A.weight", "text encoder"),
        ("unet.down.0.attn1.processor.to_q_lora.down.weight", "old format"),
    ],
)
def test_keys_of_other_parts_and_times_are_named_with_a_way_out(tmp_path, key, word):
    save_file({key: torch.ones(2, 6)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=word) as error:
        read_lora(tmp_path / "a.safetensors")
    assert error.value.hint


@pytest.mark.parametrize(
    "place",
    [
        "ema.safetensors",
        "checkpoints/step-20/ema.safetensors",
        "adapter_model.safetensors",
        "pytorch_lora_weights.safetensors",
    ],
)
def test_a_folder_with_a_lora_is_taken_for_it(tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_bytes(b"")
    (tmp_path / "checkpoints" / "step-3").mkdir(parents=True, exist_ok=True)
    assert (
        find_lora(str(tmp_path), name="sd2", preset=find_family("sd2").preset) == tmp_path / place
    )


def test_a_loras_header_chooses_backbone_and_base(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    info = CheckpointInfo(kind="lora", backbone="sd2", base=str(base))
    save_tensors(tmp_path / "a.safetensors", {"x": torch.ones(1)}, info=info)
    lora = str(tmp_path / "a.safetensors")
    chosen = completed(ModelConfig(lora=lora))
    assert (chosen.backbone, chosen.base) == ("sd2", str(base))
    assert completed(ModelConfig(lora=lora, base="other")).base == "other"
    assert completed(ModelConfig(lora=lora, backbone="sdxl")).backbone == "sdxl"
    assert completed(ModelConfig()) == ModelConfig()
