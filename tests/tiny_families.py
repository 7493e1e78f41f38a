"""Tiny random models of the large families, written to disk as their own diffusers pipelines write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderTiny,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

WIDTH = 32
"""Width of every text encoder."""
TEXT_SIZES = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_attention_heads": 2}
LATENT_CHANNELS = 4
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
FLUX_SIZES: dict[str, Any] = {
    "in_channels": 4 * LATENT_CHANNELS,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
}
UNET_CONFIG: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": (1, 2),
    "use_linear_projection": True,
    "cross_attention_dim": 2 * WIDTH,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": WIDTH + 6 * 8,
}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random weights that are the same every time, without a trace in the random numbers outside."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def save_sdxl(folder: Path, *, force_upcast: bool = True) -> Path:
    """A tiny Stable Diffusion XL."""
    with seeded(0):
        StableDiffusionXLPipeline(
            vae=tiny_vae(force_upcast=force_upcast),
            text_encoder=tiny_clip(),
            text_encoder_2=tiny_clip(projection=True),
            tokenizer=clip_tokenizer(),
            tokenizer_2=clip_tokenizer(),
            unet=UNet2DConditionModel(**UNET_CONFIG),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                steps_offset=1,
                timestep_spacing="leading",
            ),
            add_watermarker=False,
        ).save_pretrained(folder)
    return folder


def save_sd3(folder: Path, *, t5: bool = True, dual_attention: bool = False) -> Path:
    """A tiny Stable Diffusion 3, or 3.5 with its second attention in the first block."""
    with seeded(0):
        transformer = SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=2 * WIDTH,
            caption_projection_dim=16,
            pooled_projection_dim=2 * WIDTH,
            pos_embed_max_size=32,
            dual_attention_layers=(0,) if dual_attention else (),
            qk_norm="rms_norm" if dual_attention else None,
        )
        StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=tiny_vae(shift_factor=0.06, quant_conv=False),
            text_encoder=tiny_clip(projection=True),
            tokenizer=clip_tokenizer(),
            text_encoder_2=tiny_clip(projection=True),
            tokenizer_2=clip_tokenizer(),
            text_encoder_3=tiny_t5(width=2 * WIDTH) if t5 else None,
            tokenizer_3=t5_tokenizer() if t5 else None,
        ).save_pretrained(folder)
    return folder


def save_flux(folder: Path, *, guidance: bool = True) -> Path:
    """A tiny FLUX.1 [dev], or [schnell] without guidance."""
    with seeded(0):
        transformer = FluxTransformer2DModel(
            **FLUX_SIZES,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=guidance,
            axes_dims_rope=(4, 4, 8),
        )
        FluxPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(
                shift=3.0 if guidance else 1.0, use_dynamic_shifting=guidance
            ),
            vae=tiny_vae(shift_factor=0.11, quant_conv=False),
            text_encoder=tiny_clip(),
            tokenizer=clip_tokenizer(),
            text_encoder_2=tiny_t5(width=WIDTH),
            tokenizer_2=t5_tokenizer(),
        ).save_pretrained(folder)
    return folder


def save_flux2(folder: Path, *, guidance: bool = False) -> Path:
    """A tiny FLUX.2 [klein]; with guidance, what [klein] is not."""
    with seeded(0):
        transformer = Flux2Transformer2DModel(
            **FLUX_SIZES,
            joint_attention_dim=3 * WIDTH,
            timestep_guidance_channels=16,
            axes_dims_rope=(4, 4, 4, 4),
            guidance_embeds=guidance,
        )
        Flux2KleinPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
            vae=tiny_flux2_vae(),
            text_encoder=tiny_qwen(),
            tokenizer=qwen_tokenizer(),
        ).save_pretrained(folder)
    return folder


def tiny_vae(
    *, shift_factor: float | None = None, quant_conv: bool = True, force_upcast: bool = True
) -> AutoencoderKL:
    """An autoencoder of factor 2."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=LATENT_CHANNELS,
        sample_size=32,
        scaling_factor=0.6,
        shift_factor=shift_factor,
        force_upcast=force_upcast,
        use_quant_conv=quant_conv,
        use_post_quant_conv=quant_conv,
    )


def save_small_vae(folder: Path, *, name: str) -> Path:
    """A small VAE for the tiny model of a family: factor 2, the same latent channels."""
    with seeded(3):
        vae: Any = AutoencoderTiny(
            encoder_block_out_channels=(16, 16),
            decoder_block_out_channels=(16, 16),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            latent_channels=LATENT_CHANNELS,
        )
        if name == "flux2":
            vae = tiny_flux2_vae(decoder=(4, 8))
        vae.save_pretrained(folder)
    return folder


def tiny_flux2_vae(*, decoder: tuple[int, int] | None = None) -> AutoencoderKLFlux2:
    """FLUX.2's autoencoder of factor 2, or one with another decoder."""
    vae = AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        decoder_block_out_channels=decoder,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=LATENT_CHANNELS,
        sample_size=32,
    )
    vae.bn.running_mean.normal_(std=0.5)
    vae.bn.running_var.uniform_(0.5, 2.0)
    return vae


def tiny_clip(*, projection: bool = False) -> CLIPTextModel | CLIPTextModelWithProjection:
    """A CLIP text encoder of two layers."""
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        **TEXT_SIZES,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def tiny_t5(*, width: int) -> T5EncoderModel:
    """A T5 encoder of one layer."""
    config = T5Config(vocab_size=128, d_model=width, d_kv=8, d_ff=width, num_layers=1, num_heads=2)
    return T5EncoderModel(config)


def tiny_qwen() -> Qwen3ForCausalLM:
    """A Qwen3 language model of four layers."""
    config = Qwen3Config(
        vocab_size=320,
        **TEXT_SIZES,
        num_hidden_layers=4,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=512,
    )
    return Qwen3ForCausalLM(config)


def clip_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer of single bytes."""
    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(f"{char}</w>" for char in alphabet), "<|startoftext|>", "<|endoftext|>"]
    vocab = {word: index for index, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def t5_tokenizer() -> T5TokenizerFast:
    """A T5 tokenizer of single printable characters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    vocab = [*special, *((chr(code), -3.0) for code in range(33, 127))]
    return T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=512)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """A Qwen tokenizer of single bytes with a chat template."""
    words = [*sorted(ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocab = {word: index for index, word in enumerate(words)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[],
        model_max_length=512,
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
