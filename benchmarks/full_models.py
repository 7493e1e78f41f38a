"""The backbones at their published sizes with random weights, built on whatever device and in whatever dtype is the default.

On the `meta` device or under `FakeTensorMode` they take no memory and can still be counted, or run to see what they would take.
Sizes are those of the configuration files in the models' public repositories: SD 2.1-base, SDXL 1.0, SD3 medium, SD3.5 large,
FLUX.1 [dev], FLUX.2 [klein] 4B.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderTiny,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5EncoderModel,
)

from hypir_cli.models.backbones.base import Backbone, PromptEmbeds
from hypir_cli.models.backbones.flow import SCHEDULER_CLASS
from hypir_cli.models.backbones.flux.backbone import FluxBackbone
from hypir_cli.models.backbones.flux2.backbone import Flux2Backbone
from hypir_cli.models.backbones.pretrained import PretrainedBackbone
from hypir_cli.models.backbones.sd2.backbone import SD2Backbone
from hypir_cli.models.backbones.sd3.backbone import Sd3Backbone, Sd35Backbone
from hypir_cli.models.backbones.sdxl.backbone import SdxlBackbone

_SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "epsilon",
}
_FLOW = {"_class_name": SCHEDULER_CLASS}
PROMPT_SHAPES: dict[str, tuple[tuple[int, int], int | None]] = {
    "sd2": ((77, 1024), None),
    "sdxl": ((77, 2048), 1280),
    "sd3": ((333, 4096), 2048),
    "sd35": ((333, 4096), 2048),
    "flux": ((512, 4096), 768),
    "flux2": ((512, 7680), None),
}
"""Tokens and width of the text sequence, and length of the pooled vector."""


def build_full(name: str, *, small_vae: bool = False) -> Backbone:
    """A full-size backbone with its text encoders, without tokenizers: it cannot encode prompts, all else works.

    With `small_vae` (sd2 alone) its VAE is diffusers' `AutoencoderTiny` at its published size.
    """
    backbone = _sd2(AutoencoderTiny()) if small_vae else BUILDERS[name]()
    for module in backbone.components().values():
        module.requires_grad_(False).eval()
    return backbone


def random_prompt(name: str, *, batch: int = 1) -> PromptEmbeds:
    """Random text conditioning of a full-size backbone."""
    sequence, pooled = PROMPT_SHAPES[name]
    return PromptEmbeds(
        sequence=torch.randn(batch, *sequence),
        pooled=None if pooled is None else torch.randn(batch, pooled),
    )


def _vae(*, channels: int, quant_conv: bool) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=channels,
        use_quant_conv=quant_conv,
        use_post_quant_conv=quant_conv,
    )


def _clip(width: int, layers: int, *, projection: bool) -> nn.Module:
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
        vocab_size=49408,
    )
    return CLIPTextModelWithProjection(config) if projection else CLIPTextModel(config)


def _t5() -> T5EncoderModel:
    config = T5Config(
        vocab_size=32128,
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=24,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def _qwen3() -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=151936,
        hidden_size=2560,
        intermediate_size=9728,
        num_hidden_layers=36,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


def _sd2_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=64,
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    )


def _sdxl_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )


def _sd3_transformer(*, layers: int, qk_norm: str | None) -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=128,
        num_layers=layers,
        num_attention_heads=layers,
        attention_head_dim=64,
        joint_attention_dim=4096,
        caption_projection_dim=64 * layers,
        pooled_projection_dim=2048,
        pos_embed_max_size=192,
        qk_norm=qk_norm,
    )


def _klein_transformer() -> Flux2Transformer2DModel:
    return Flux2Transformer2DModel(
        num_layers=5,
        num_single_layers=20,
        num_attention_heads=24,
        attention_head_dim=128,
        joint_attention_dim=7680,
        guidance_embeds=False,
    )


def _backbone(
    cls: type[PretrainedBackbone], vae: nn.Module, denoiser: nn.Module, *texts: nn.Module
) -> Backbone:
    unet = isinstance(denoiser, UNet2DConditionModel)
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    return cls(
        networks={
            "vae": vae,
            "unet" if unet else "transformer": denoiser,
            **dict(zip(names, texts, strict=False)),
        },
        tokenizers={},
        scheduler_config=_SCHEDULE if unet else _FLOW,
    )


def _sd2(vae: nn.Module | None = None) -> Backbone:
    vae = vae or _vae(channels=4, quant_conv=True)
    return _backbone(SD2Backbone, vae, _sd2_unet(), _clip(1024, 23, projection=False))


def _sdxl() -> Backbone:
    vae, unet = _vae(channels=4, quant_conv=True), _sdxl_unet()
    texts = (_clip(768, 12, projection=False), _clip(1280, 32, projection=True))
    return _backbone(SdxlBackbone, vae, unet, *texts)


def _sd3_family(cls: type[Sd3Backbone], transformer: SD3Transformer2DModel) -> Backbone:
    vae = _vae(channels=16, quant_conv=False)
    clips = (_clip(768, 12, projection=True), _clip(1280, 32, projection=True))
    return _backbone(cls, vae, transformer, *clips, _t5())


def _flux() -> Backbone:
    vae = _vae(channels=16, quant_conv=False)
    transformer = FluxTransformer2DModel(guidance_embeds=True)
    return _backbone(FluxBackbone, vae, transformer, _clip(768, 12, projection=False), _t5())


def _flux2() -> Backbone:
    return _backbone(Flux2Backbone, AutoencoderKLFlux2(), _klein_transformer(), _qwen3())


BUILDERS: dict[str, Callable[[], Backbone]] = {
    "sd2": _sd2,
    "sdxl": _sdxl,
    "sd3": lambda: _sd3_family(Sd3Backbone, _sd3_transformer(layers=24, qk_norm=None)),
    "sd35": lambda: _sd3_family(Sd35Backbone, _sd3_transformer(layers=38, qk_norm="rms_norm")),
    "flux": _flux,
    "flux2": _flux2,
}
"""Registry name -> builder."""
