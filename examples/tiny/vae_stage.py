"""First stage: the autoencoder, from principal components to a near-lossless round trip."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hypir_cli.backbones.tiny_vae import TinyVAE, TinyVAEConfig

LEARNING_RATE = 1e-3
BATCH, SIDE = 8, 96


def train_vae(crops: np.ndarray, *, minutes: float, seed: int, path: Path) -> TinyVAE:
    """A trained autoencoder, also written to `path`; read from there when it exists.

    Args:
        crops: Sharp photographs, (N, size, size, 3) uint8.
        minutes: Time to train, beyond the principal components.
        seed: Of the draws.
        path: Where the state dict goes.
    """
    torch.manual_seed(seed)
    vae = TinyVAE(TinyVAEConfig()).to(memory_format=torch.channels_last)
    if path.exists():
        vae.load_state_dict(torch.load(path, weights_only=True))
        return vae
    random = np.random.default_rng(seed)
    patches = functional.pixel_unshuffle(batch_of(crops, random, count=400), vae.config.patch)
    vae.start_from_patches(patches.permute(0, 2, 3, 1).reshape(-1, patches.shape[1]))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99))
    start = time.monotonic()
    step, share = 0, 0.0
    while share < 1.0:
        share = (time.monotonic() - start) / (60.0 * max(minutes, 1e-6))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * max(1e-3, 1.0 - share) * min(1.0, step / 100)
        loss = vae_loss(vae, batch_of(crops, random, count=BATCH))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 200 == 0:
            print(f"vae step {step} loss {loss.item():.4f}", flush=True)
    torch.save(vae.state_dict(), path)
    return vae


def vae_loss(vae: TinyVAE, pixels: Tensor) -> Tensor:
    """Reconstruction of a sampled latent, variance held at 1 per channel and the posterior's at its configured start."""
    mean, log_variance = vae.encode(pixels)
    latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    reconstruction = functional.l1_loss(vae.decode(latents), pixels)
    variances = mean.var(dim=(0, 2, 3))
    excess = log_variance - vae.config.log_variance
    divergence = 0.5 * (excess.exp() - excess - 1.0).mean()
    return reconstruction + 0.01 * variances.log().square().mean() + 1e-4 * divergence


def batch_of(crops: np.ndarray, random: np.random.Generator, *, count: int) -> Tensor:
    """Random squares (count, 3, SIDE, SIDE) in -1..1, in channels-last memory."""
    squares = []
    for index in random.integers(len(crops), size=count):
        top, left = random.integers(crops.shape[1] - SIDE + 1, size=2)
        squares.append(crops[index, top : top + SIDE, left : left + SIDE])
    pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    return (pixels.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
