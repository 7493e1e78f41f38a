"""The two stages before the method's own: the autoencoder, and the diffusion prior on its latents.

Both run in the project's training loop, on its data and with its checkpoints, so they log, validate, stop and resume as
`hypir train-encoder` and `hypir train-gan` do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hypir_cli.config.train import RunConfig
from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.controls import Controls
from hypir_cli.models.backbones.tiny.backbone import TinyBackbone
from hypir_cli.models.backbones.tiny.vae import TinyVAE
from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.pixels.texture import texture_richness
from hypir_cli.train import draws
from hypir_cli.train.ema import Ema
from hypir_cli.train.networks.losses import log_pixel_loss
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs, ParameterGroup, Stage, WeightsFile
from hypir_cli.train.state import load_fitting

RESULT_FILE, LIVE_FILE = "network.safetensors", "network-live.safetensors"
UNIT_VARIANCE_WEIGHT = 0.01
DIVERGENCE_WEIGHT = 1e-4


@dataclass(frozen=True, kw_only=True)
class VaeConfig(RunConfig):
    """Settings of the autoencoder stage."""


@dataclass(frozen=True, kw_only=True)
class PriorConfig(RunConfig):
    """Settings of the diffusion prior."""

    texture_dropout: float = 0.3
    """Chance that the photograph's texture richness is not told."""
    near_share: float = 0.5
    """Share of samples whose timestep is drawn around the one that restoring uses; the others take any."""


class NetworkStage(Stage):
    """Trains all weights of one network that is kept in float32.

    Args:
        network: What trains.
        backbone: Whose part it is.
        config: Settings.
        runtime: The processes.
    """

    result_name = RESULT_FILE
    needs_lq = False

    def __init__(
        self, network: nn.Module, backbone: TinyBackbone, *, config: RunConfig, runtime: Runtime
    ) -> None:
        self.network = network.requires_grad_(True)
        self.backbone = backbone
        self.runtime = runtime
        named = dict(network.named_parameters())
        self._keys = list(named)
        self.ema = Ema(list(named.values()), decay=config.ema.decay, warmup=config.ema.warmup)
        self.groups = (ParameterGroup(name="network", parameters=list(named.values())),)

    def updated(self) -> None:
        """Move the average."""
        self.ema.update()

    def files(self, *, step: int) -> list[WeightsFile]:
        """The averaged network and the live one."""
        info = CheckpointInfo(
            kind="backbone", backbone=self.backbone.traits.name, training_step=step
        )
        return self.averaged_and_live(self.network, live_name=LIVE_FILE, info=info)

    def load(self, folder: Path, *, ema_updates: int) -> None:
        """Continue from a checkpoint of this stage."""
        name = self.backbone.traits.name
        average = load_fitting(folder / RESULT_FILE, backbone=name)
        self.network.load_state_dict(load_fitting(folder / LIVE_FILE, backbone=name))
        self.ema.load([average[key] for key in self._keys], num_updates=ema_updates)


class VaeStage(NetworkStage):
    """Reconstruction of clean images from a sampled latent, whose variance is held at 1 per channel."""

    network: TinyVAE

    def accumulate(self, pairs: Pairs, *, scale: float) -> dict[str, Tensor]:
        """Gradients of reconstruction and latent statistics."""
        pixels = 2.0 * pairs.gt - 1.0
        with self.runtime.autocast():
            mean, log_variance = self.network.encode(pixels)
        mean, log_variance = mean.float(), log_variance.float()
        noise = draws.normal(pairs.keys, "posterior", shape=tuple(mean.shape[1:])).to(mean)
        with self.runtime.autocast():
            decoded = self.network.decode(mean + (0.5 * log_variance).exp() * noise)
        loss = log_pixel_loss((decoded.float() + 1.0) / 2.0, pairs.gt)
        unit = mean.var(dim=(0, 2, 3)).log().square().mean()
        excess = log_variance - self.network.config.log_variance
        divergence = 0.5 * (excess.exp() - excess - 1.0).mean()
        total = loss + UNIT_VARIANCE_WEIGHT * unit + DIVERGENCE_WEIGHT * divergence
        (total * scale).backward()  # type: ignore[no-untyped-call]
        return {"loss/reconstruction": loss.detach(), "loss/unit_variance": unit.detach()}

    @torch.no_grad()
    def restore(self, pairs: Pairs) -> Tensor:
        """Clean images there and back: the validation's PSNR is the reconstruction's."""
        with self.runtime.autocast():
            return self.backbone.decode(self.backbone.encode(pairs.gt))


class PriorStage(NetworkStage):
    """The denoiser's diffusion objective on clean latents: flow matching, told the texture richness of the image.

    Source: flow matching as in SD3 (arXiv:2403.03206), section 2; texture as in `hypir train-gan`.
    """

    def __init__(self, backbone: TinyBackbone, *, config: PriorConfig, runtime: Runtime) -> None:
        parts = {"unet": backbone.denoiser, "control": backbone.enable_controls()}
        super().__init__(nn.ModuleDict(parts), backbone, config=config, runtime=runtime)
        self._config = config
        self._blank: PromptEmbeds = backbone.encode_prompts([""])
        # Channels count by how far they move the pixels; equally weighted, the many faint ones would drown the others.
        scale = backbone.denoiser.latent_scale
        self._weights = scale / scale.mean()

    def accumulate(self, pairs: Pairs, *, scale: float) -> dict[str, Tensor]:
        """Gradients of the velocity's error."""
        backbone = self.backbone
        with torch.no_grad(), self.runtime.autocast():
            clean = backbone.encode(pairs.gt)
        timestep = self._timesteps(pairs).to(clean)
        noise = self._noise(pairs, clean)
        noisy = backbone.add_noise(clean, noise, timestep=timestep)
        texture = texture_richness(pairs.gt)
        dropped = draws.uniform(pairs.keys, "texture dropout") < self._config.texture_dropout
        texture = texture.masked_fill(dropped.to(texture.device), torch.nan)
        velocity = self._velocity(noisy, timestep, Controls(texture=texture))
        errors = (velocity - (noise - clean)).square().mean(dim=(0, 2, 3))
        loss = (errors * self._weights).mean()
        (loss * scale).backward()  # type: ignore[no-untyped-call]
        return {"loss/prior": loss.detach()}

    @torch.no_grad()
    def restore(self, pairs: Pairs) -> Tensor:
        """Clean latents noised to the timestep of restoring, denoised once: the validation's PSNR is the denoising's."""
        backbone = self.backbone
        timestep = torch.tensor(float(backbone.traits.timestep))
        with self.runtime.autocast():
            clean = backbone.encode(pairs.gt)
        noisy = backbone.add_noise(clean, self._noise(pairs, clean), timestep=timestep)
        velocity = self._velocity(noisy, timestep.expand(len(pairs)), None)
        with self.runtime.autocast():
            return backbone.decode(backbone.predict_clean(noisy, velocity, timestep=timestep))

    def _velocity(self, noisy: Tensor, timestep: Tensor, controls: Controls | None) -> Tensor:
        with self.runtime.autocast():
            return self.backbone.denoise(
                noisy,
                prompt=self._blank.select([0] * len(noisy)).to(noisy.device),
                timestep=timestep,
                controls=controls,
            )

    def _timesteps(self, pairs: Pairs) -> Tensor:
        """(B,) in 0..1000."""
        steps = 1000.0 * draws.uniform(pairs.keys, "timestep")
        near = draws.uniform(pairs.keys, "near") < self._config.near_share
        return torch.where(near, 2.0 * self.backbone.traits.timestep * steps / 1000.0, steps)

    def _noise(self, pairs: Pairs, like: Tensor) -> Tensor:
        return draws.normal(pairs.keys, "noise", shape=tuple(like.shape[1:])).to(like)


def put_into(backbone: TinyBackbone, tensors: Mapping[str, Tensor], *, kind: str) -> None:
    """Give a backbone what a finished stage `vae` or `prior` has left."""
    if kind == "vae":
        backbone.components()["vae"].load_state_dict(dict(tensors))
        autoencoder = backbone.components()["vae"]
        backbone.denoiser.latent_scale.copy_(autoencoder.latent_scale())
        return
    parts = {"unet": backbone.denoiser, "control": backbone.enable_controls()}
    nn.ModuleDict(parts).load_state_dict(dict(tensors))
