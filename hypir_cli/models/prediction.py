"""From one network output to the clean latent, in closed form.

The formulas are evaluated from `alphas_cumprod` or `sigma` directly, never through a scheduler object, whose `clip_sample`
default would silently clamp the clean latent to +-1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PredictionKind = Literal["epsilon", "v_prediction", "flow"]


def scaled_linear_alphas_cumprod(
    *, beta_start: float = 0.00085, beta_end: float = 0.012, num_timesteps: int = 1000
) -> Tensor:
    """Cumulative products of alpha of the latent-diffusion training schedule.

    Returns:
        float64 tensor (num_timesteps,), falling from almost 1 towards 0.

    Source: Latent Diffusion (arXiv:2112.10752); betas are squares of a linear ramp.
    """
    ramp = torch.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=torch.float32)
    return torch.cumprod((1.0 - ramp.double() ** 2), dim=0)


def z0_from_eps(z_t: Tensor, eps: Tensor, *, alpha_cumprod: Tensor) -> Tensor:
    """Clean latent implied by one noise prediction.

    Args:
        z_t: Noisy latent, (B, C, h, w), already scaled.
        eps: Predicted noise, same shape as `z_t`.
        alpha_cumprod: Cumulative alpha at the coefficient timestep, scalar in (0, 1] or (B, 1, 1, 1).

    Returns:
        Clean latent, (B, C, h, w), same scale as `z_t`.

    Source: DDPM (arXiv:2006.11239), eq. 15.
    """
    alpha = alpha_cumprod.to(z_t)
    return (z_t - (1.0 - alpha).sqrt() * eps) / alpha.sqrt()


def z0_from_v(z_t: Tensor, velocity: Tensor, *, alpha_cumprod: Tensor) -> Tensor:
    """Clean latent implied by one v-prediction; arguments as in `z0_from_eps`.

    Source: Progressive Distillation (arXiv:2202.00512), section 4.
    """
    alpha = alpha_cumprod.to(z_t)
    return alpha.sqrt() * z_t - (1.0 - alpha).sqrt() * velocity


def z0_from_flow(z_t: Tensor, velocity: Tensor, *, sigma: Tensor) -> Tensor:
    """Clean latent implied by one rectified-flow velocity.

    Args:
        z_t: Noisy latent, (B, C, h, w): (1 - sigma) * clean + sigma * noise.
        velocity: Predicted noise minus clean, same shape.
        sigma: Noise share, scalar in [0, 1] or (B, 1, 1, 1).

    Source: Rectified Flow (arXiv:2209.03003), eq. 1.
    """
    return z_t - sigma.to(z_t) * velocity


def mix_noise(latents: Tensor, noise: Tensor, *, level: Tensor) -> Tensor:
    """Latents with noise mixed in before the denoiser: what the generativity control does.

    Args:
        latents: Scaled latents of the degraded image, (B, C, h, w), about unit variance.
        noise: Standard normal, same shape.
        level: Generativity, scalar or (B,), 0 (nothing added) to 1 (noise as strong as the latent).

    Returns:
        latents + level * noise, (B, C, h, w).
    """
    return latents + level.to(latents).reshape(-1, 1, 1, 1) * noise
