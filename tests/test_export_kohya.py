"""Kohya's names as published, and other programs' readers of them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from lycoris.kohya import LycorisNetworkKohya, create_network_from_weights
from safetensors.torch import load_file
from torch import nn

from hypir_cli.config.export import ExportConfig
from hypir_cli.config.families import find_family
from hypir_cli.errors import CheckpointError
from hypir_cli.export.run import export_lora
from hypir_cli.models.checkpoint import CheckpointInfo, save_tensors
from hypir_cli.models.lora import LoraState, read_lora, save_lora
from hypir_cli.models.lora.bind import bind
from hypir_cli.models.lora.kohya import fuse, kohya_names, split
from tests.adapted_families import assert_same, make_family

SDXL = {
    "conv_in": "input_blocks_0_0",
    "down_blocks.0.resnets.0.conv1": "input_blocks_1_0_in_layers_2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_3_0_op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks_4_0_skip_connection",
    "down_blocks.1.attentions.0.proj_in": "input_blocks_4_1_proj_in",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    ),
    "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0": (
        "input_blocks_8_1_transformer_blocks_9_attn2_to_out_0"
    ),
    "mid_block.resnets.0.conv2": "middle_block_0_out_layers_3",
    "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj": (
        "middle_block_1_transformer_blocks_0_ff_net_0_proj"
    ),
    "mid_block.resnets.1.conv1": "middle_block_2_in_layers_2",
    "up_blocks.0.resnets.0.time_emb_proj": "output_blocks_0_0_emb_layers_1",
    "up_blocks.0.attentions.2.transformer_blocks.9.ff.net.2": (
        "output_blocks_2_1_transformer_blocks_9_ff_net_2"
    ),
    "up_blocks.0.upsamplers.0.conv": "output_blocks_2_2_conv",
    "up_blocks.1.attentions.0.proj_out": "output_blocks_3_1_proj_out",
    "up_blocks.2.resnets.2.conv1": "output_blocks_8_0_in_layers_2",
    "conv_out": "out_2",
}
"""Layers of SDXL and their names in files of kohya-ss/sd-scripts."""


def test_sdxl_layers_go_by_their_published_names() -> None:
    names = kohya_names(SDXL, family=find_family("sdxl"))
    assert {parts[0]: name for name, parts in names.items()} == SDXL


def test_an_attention_only_sdxl_lora_has_the_same_names() -> None:
    attention = [f"up_blocks.1.attentions.{index}.proj_in" for index in range(3)]
    attention += [f"down_blocks.2.attentions.{index}.proj_in" for index in range(2)]
    names = kohya_names(attention, family=find_family("sdxl"))
    assert {parts[0]: name for name, parts in names.items()} == {
        "down_blocks.2.attentions.0.proj_in": "input_blocks_7_1_proj_in",
        "down_blocks.2.attentions.1.proj_in": "input_blocks_8_1_proj_in",
        **{
            f"up_blocks.1.attentions.{i}.proj_in": f"output_blocks_{3 + i}_1_proj_in"
            for i in range(3)
        },
    }


def test_sd3_layers_go_by_their_published_names() -> None:
    block = "transformer_blocks.5"
    modules = [
        f"{block}.attn.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0", "to_add_out")
    ]
    modules += [f"{block}.attn.add_{name}_proj" for name in "qkv"]
    modules += [f"{block}.ff.net.0.proj", f"{block}.ff_context.net.2", f"{block}.attn2.to_out.0"]
    names = kohya_names(modules, family=find_family("sd3"))
    assert set(names) == {
        "joint_blocks_5_x_block_attn_qkv",
        "joint_blocks_5_x_block_attn_proj",
        "joint_blocks_5_x_block_attn2_proj",
        "joint_blocks_5_x_block_mlp_fc1",
        "joint_blocks_5_context_block_attn_qkv",
        "joint_blocks_5_context_block_attn_proj",
        "joint_blocks_5_context_block_mlp_fc2",
    }
    assert names["joint_blocks_5_x_block_attn_qkv"] == tuple(modules[:3])


def test_lycoris_merges_an_exported_sd2_lora_convolutions_included(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # LyCORIS 4.1.3 names the timestep layers of a diffusers U-Net twice over and stops; none of them is adapted here.
    names = ["conv_in", "conv_out"]
    monkeypatch.setattr(LycorisNetworkKohya, "UNET_TARGET_REPLACE_NAME", names)
    family = make_family("sd2", tmp_path)
    out = tmp_path / "kohya.safetensors"
    result = export_lora(family.lora, out, config=ExportConfig(format="kohya"))
    denoiser = copy.deepcopy(family.loaded.denoiser)
    network, _ = create_network_from_weights(1.0, str(out), None, None, denoiser)
    assert len(network.unet_loras) == result.num_layers
    network.merge_to(None, denoiser, load_file(out), torch.float32, "cpu")
    assert_same(family.denoised(family.backbone(denoiser)), family.adapted)


def test_diffusers_reads_an_exported_flux_lora_of_the_full_width(tmp_path: Path) -> None:
    """Its converter expects FLUX.1's own layer sizes, so one block of each kind has them here."""
    double, single = "transformer_blocks.0", "single_transformer_blocks.0"
    names = [
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
    ]
    shapes = {f"{double}.attn.{name}": (3072, 3072) for name in names}
    shapes |= {f"{double}.{part}.net.0.proj": (12288, 3072) for part in ("ff", "ff_context")}
    shapes |= {f"{double}.{part}.net.2": (3072, 12288) for part in ("ff", "ff_context")}
    shapes |= {f"{single}.attn.{name}": (3072, 3072) for name in names[:3]}
    shapes |= {f"{single}.proj_mlp": (12288, 3072), f"{single}.proj_out": (3072, 15360)}
    tensors = {}
    for module, (rows, columns) in shapes.items():
        tensors[f"{module}.lora_A.weight"] = torch.randn(2, columns)
        tensors[f"{module}.lora_B.weight"] = torch.randn(rows, 2)
    save_lora(
        tmp_path / "x.safetensors", tensors, info=CheckpointInfo(backbone="flux", lora_alpha=1.0)
    )
    out = tmp_path / "kohya.safetensors"
    export_lora(tmp_path / "x.safetensors", out, config=ExportConfig(format="kohya"))
    theirs = _convert_kohya_flux_lora_to_diffusers(load_file(out))
    assert {key.removeprefix("transformer.") for key in theirs} == set(tensors)
    for module in shapes:
        down, up = (tensors[f"{module}.lora_{half}.weight"] for half in "AB")
        their_down, their_up = (theirs[f"transformer.{module}.lora_{half}.weight"] for half in "AB")
        assert torch.allclose(their_up @ their_down[:, :64], up @ down[:, :64] / 2, atol=1e-5)


def test_fused_adapters_do_what_their_parts_do_and_split_back() -> None:
    parts = [
        (torch.randn(rank, 5), torch.randn(rows, rank)) for rank, rows in ((2, 4), (3, 4), (1, 6))
    ]
    down, up = fuse(parts)
    expected = torch.cat([part_up @ part_down for part_down, part_up in parts])
    assert torch.allclose(up @ down, expected, atol=1e-6)
    for (part_down, part_up), (split_down, split_up, alpha) in zip(
        parts, split(down, up, alpha=6.0, rows=[4, 4, 6]), strict=True
    ):
        assert torch.equal(split_down, part_down)
        assert torch.equal(split_up, part_up)
        assert alpha == part_down.shape[0]


def test_a_dense_fused_adapter_splits_into_parts_that_share_its_inner_space() -> None:
    down, up = torch.randn(3, 5), torch.randn(8, 3)
    pieces = split(down, up, alpha=6.0, rows=[4, 4])
    whole = torch.cat(
        [piece_up @ piece_down * (alpha / 3) for piece_down, piece_up, alpha in pieces]
    )
    assert torch.allclose(whole, up @ down * 2, atol=1e-6)
    (first, _, alpha), (_, zero_up, _) = split(
        down, torch.cat([up[:4], 0 * up[:4]]), alpha=3.0, rows=[4, 4]
    )
    assert (first.shape[0], alpha) == (3, 3.0)
    assert zero_up.shape == (4, 1)


def test_what_has_no_name_is_an_error_that_names_it(tmp_path: Path) -> None:
    lone = {
        "transformer_blocks.0.attn.to_q.lora_A.weight": torch.randn(2, 4),
        "transformer_blocks.0.attn.to_q.lora_B.weight": torch.randn(4, 2),
    }
    save_lora(tmp_path / "x.safetensors", lone, info=CheckpointInfo(backbone="flux"))
    with pytest.raises(CheckpointError, match=r"transformer_blocks\.0\.attn\.to_q") as caught:
        export_lora(
            tmp_path / "x.safetensors",
            tmp_path / "y.safetensors",
            config=ExportConfig(format="kohya"),
        )
    assert "fused" in caught.value.hint


def test_kohya_files_are_no_source_of_another_export(tmp_path: Path) -> None:
    flat = {
        "lora_unet_conv_in.lora_down.weight": torch.randn(2, 4, 3, 3),
        "lora_unet_conv_in.lora_up.weight": torch.randn(4, 2, 1, 1),
    }
    save_tensors(
        tmp_path / "x.safetensors", flat, info=CheckpointInfo(backbone="sd2", key_format="kohya")
    )
    with pytest.raises(CheckpointError, match="kohya's names"):
        export_lora(tmp_path / "x.safetensors", tmp_path / "y", config=ExportConfig())


def test_a_fused_adapter_of_another_width_is_unexpected(tmp_path: Path) -> None:
    attention = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("to_q", "to_k", "to_v")})
    denoiser = nn.Module()
    denoiser.transformer_blocks = nn.ModuleList([nn.ModuleDict({"attn": attention})])
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    for rows, fits in ((12, True), (15, False)):
        halves = {
            f"{name}.lora_A.weight": torch.randn(2, 4),
            f"{name}.lora_B.weight": torch.randn(rows, 2),
        }
        state = LoraState(tensors=halves, alphas={name: 2.0}, info=CheckpointInfo())
        if fits:
            assert len(bind(denoiser, state)) == 3
            continue
        with pytest.raises(CheckpointError, match="img_attn_qkv"):
            bind(denoiser, state)


def test_read_back_alphas_are_those_of_the_file(tmp_path: Path) -> None:
    family = make_family("sd2", tmp_path)
    out = tmp_path / "kohya.safetensors"
    export_lora(family.lora, out, config=ExportConfig(format="kohya", dtype="fp16"))
    tensors = load_file(out)
    assert {key.rsplit(".", 2)[-1] for key in tensors} == {"weight", "alpha"}
    assert all(value.dtype == torch.float16 for value in tensors.values())
    assert set(read_lora(out).alphas.values()) == {3.0}
