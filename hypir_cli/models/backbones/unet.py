"""What the families with a text-conditioned diffusers U-Net share, Stable Diffusion 2 and XL.

Texture and generativity are added to the sinusoidal timestep code, by diffusers' own condition input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from hypir_cli.models.backbones.controls import ControlEmbedding
from hypir_cli.models.backbones.pretrained import PretrainedBackbone
from hypir_cli.models.backbones.schedule import alphas_cumprod, look_up, prediction_kind
from hypir_cli.models.backbones.text import dropped_text
from hypir_cli.models.execution import compute_dtype, module_device
from hypir_cli.models.prediction import PredictionKind


class UNetBackbone(PretrainedBackbone):
    """A U-Net with a schedule of noise levels, and CLIP as its text encoder."""

    networks = (AutoencoderKL, UNet2DConditionModel)

    def prepare(self, scheduler_config: Mapping[str, Any]) -> None:
        """Read the schedule."""
        self._alphas_cumprod = alphas_cumprod(scheduler_config).float()

    @classmethod
    def prediction_of(cls, scheduler_config: Mapping[str, Any], *, source: str) -> PredictionKind:
        """Noise or velocity, as the configuration says."""
        return prediction_kind(scheduler_config)

    def latent_multiple(self) -> int:
        """Pixels that the network's lowest level sees as one."""
        levels = len(self.denoiser_config.block_out_channels)
        return int(2 ** (levels - 1))

    def token_overflow(self, prompt: str) -> str:
        """What comes after CLIP's 77 tokens."""
        tokenizer = self.tokenizers["tokenizer"]
        return dropped_text(tokenizer, prompt, max_length=tokenizer.model_max_length)

    def alpha_or_sigma(self, timestep: Tensor) -> Tensor:
        """`alphas_cumprod` of the model's own schedule."""
        return look_up(self._alphas_cumprod, timestep)

    def control_dim(self) -> int:
        """Width of the sinusoidal timestep code."""
        return int(self.denoiser_config.block_out_channels[0])

    def enable_controls(self) -> ControlEmbedding:
        """Add the control embedding, and let its vector reach the timestep code as it is."""
        network: Any = self.denoiser
        network.time_embedding.cond_proj = nn.Identity()
        return super().enable_controls()


def call_unet(
    unet: UNet2DConditionModel,
    latents: Tensor,
    *,
    timestep: Tensor,
    text: Tensor,
    control: Tensor | None = None,
    added: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """One forward pass.

    Args:
        unet: Network; computes in the dtype of its weights.
        latents: (B, C, h, w).
        timestep: Scalar or (B,).
        text: Token embeddings, (B, L, D).
        control: (B, block_out_channels[0]) added to the timestep code, after `enable_controls`.
        added: Further conditions, e.g. `text_embeds` and `time_ids` of Stable Diffusion XL.

    Returns:
        (B, C, h, w), in the network's dtype.
    """
    device, dtype = module_device(unet), compute_dtype(unet)
    output: Tensor = unet(
        latents.to(device, dtype),
        timestep.to(device).reshape(-1).expand(latents.shape[0]),
        encoder_hidden_states=text.to(device, dtype),
        timestep_cond=None if control is None else control.to(device, dtype),
        added_cond_kwargs=None if added is None else dict(added),
        return_dict=False,
    )[0]
    return output
