"""A tiny random model of every registered backbone, on disk in the layout that it is loaded from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.backbones.registry import load_backbone
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.backbones.tiny.text import TinyTextConfig, TinyTextEncoder
from hypir_cli.models.backbones.tiny.unet import TinyUNet, TinyUNetConfig
from hypir_cli.models.backbones.tiny.vae import TinyVAE, TinyVAEConfig
from tests.tiny_families import (
    LATENT_CHANNELS,
    WIDTH,
    clip_tokenizer,
    save_flux,
    save_flux2,
    save_sd3,
    save_sdxl,
    seeded,
    tiny_clip,
    tiny_vae,
)


def save_sd2(folder: Path, *, prediction_type: str = "epsilon") -> Path:
    """A tiny Stable Diffusion 2."""
    with seeded(0):
        StableDiffusionPipeline(
            vae=tiny_vae(),
            text_encoder=tiny_clip(),
            tokenizer=clip_tokenizer(),
            unet=UNet2DConditionModel(
                sample_size=16,
                in_channels=LATENT_CHANNELS,
                out_channels=LATENT_CHANNELS,
                block_out_channels=(8, 16),
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                layers_per_block=1,
                norm_num_groups=4,
                attention_head_dim=(1, 2),
                use_linear_projection=True,
                cross_attention_dim=WIDTH,
            ),
            scheduler=DDPMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                prediction_type=prediction_type,
                clip_sample=False,
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return folder


def save_tiny(folder: Path) -> Path:
    """The embedded backbone's classes at a fraction of their size, every weight random."""
    with seeded(0):
        backbone = TinyBackbone(
            vae=TinyVAE(TinyVAEConfig(hidden=16, num_blocks=1)),
            unet=TinyUNet(
                TinyUNetConfig(
                    uses_prompt=True,
                    channels=(16, 32),
                    down_blocks=(1, 1),
                    up_blocks=(1, 1),
                    embedding_dim=32,
                    text_dim=WIDTH,
                    attention_heads=2,
                )
            ),
            text_encoder=TinyTextEncoder(
                TinyTextConfig(
                    vocab_size=300,
                    hidden_size=WIDTH,
                    intermediate_size=WIDTH,
                    num_hidden_layers=1,
                    num_attention_heads=2,
                )
            ),
            tokenizer=_byte_tokenizer(),
        )
        # Layers that start at zero would hide what goes wrong before them.
        for value in backbone.denoiser.parameters():
            if not value.any():
                torch.nn.init.normal_(value, std=0.05)
        backbone.save(folder, dtype=torch.float32)
    return folder


def _byte_tokenizer() -> Tokenizer:
    words = ["<pad>", "<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocab = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.enable_truncation(max_length=77)
    tokenizer.enable_padding(length=77, pad_id=0, pad_token="<pad>")
    return tokenizer


BUILDERS: dict[str, Callable[[Path], Path]] = {
    "tiny": save_tiny,
    "sd2": save_sd2,
    "sdxl": save_sdxl,
    "sd3": save_sd3,
    "sd35": lambda folder: save_sd3(folder, dual_attention=True),
    "flux": save_flux,
    "flux2": save_flux2,
}
"""Registry name -> function that writes a model of that kind into a folder."""


def load_built(
    name: str, folder: Path, *, dtype: torch.dtype = torch.float32, vae: str = "default"
) -> Backbone:
    """A backbone from a folder that its builder wrote."""
    return load_backbone(name, base=str(folder), dtype=dtype, vae=vae)
