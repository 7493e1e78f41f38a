"""The encoder stage: the VAE's encoder learns to see past the degradation.

Source: section 3 of HYPIR (arXiv:2507.20590). The loss as printed compares with the encoder in training, which has a trivial
minimum (a constant encoder), so the target is a setting; the reconstruction of clean images is logged to show a collapse.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hypir_cli.config.families import find_family
from hypir_cli.config.run_dir import ENCODER_FILE
from hypir_cli.config.train import TrainEncoderConfig
from hypir_cli.errors import CheckpointError
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.models.vae import vae_name
from hypir_cli.pixels.metrics.fidelity import psnr
from hypir_cli.train.ema import Ema, exchanged
from hypir_cli.train.networks.losses import image_loss
from hypir_cli.train.runtime import Runtime
from hypir_cli.train.stage import Pairs, ParameterGroup, Stage, WeightsFile
from hypir_cli.train.state import load_fitting

LIVE_FILE = "encoder-live.safetensors"


class EncoderStage(Stage):
    """See the module.

    Args:
        backbone: Its encoder trains, kept in float32; its decoder and the rest are frozen.
        config: Settings.
        runtime: The processes.
    """

    result_name = ENCODER_FILE

    def __init__(self, backbone: Backbone, *, config: TrainEncoderConfig, runtime: Runtime) -> None:
        self.backbone = backbone
        self._config = config
        self._runtime = runtime
        self._encoder = backbone.encoder_module().requires_grad_(True)
        named = dict(self._encoder.named_parameters())
        self._keys = list(named)
        weights: list[nn.Parameter] = list(named.values())
        self._original = [weight.detach().clone() for weight in weights]
        self.ema = Ema(weights, decay=config.ema.decay, warmup=config.ema.warmup)
        self.groups = (ParameterGroup(name="encoder", parameters=weights),)

    def accumulate(self, pairs: Pairs, *, scale: float) -> dict[str, Tensor]:
        """Gradients of the decoded difference."""
        with self._runtime.autocast():
            target = self._target(pairs)
        with self._runtime.autocast():
            decoded = self.backbone.decode(self.backbone.encode(pairs.lq))
            loss = image_loss(decoded, target, kind=self._config.pixel_kind)
        (loss * scale).backward()  # type: ignore[no-untyped-call]
        return {"loss/encoder": loss.detach(), "psnr/clean": self._clean_psnr(pairs)}

    def updated(self) -> None:
        """Move the average."""
        self.ema.update()

    @torch.no_grad()
    def restore(self, pairs: Pairs) -> Tensor:
        """Degraded images through encoder and decoder."""
        with self._runtime.autocast():
            return self.backbone.decode(self.backbone.encode(pairs.lq))

    def files(self, *, step: int) -> list[WeightsFile]:
        """The averaged encoder, complete with what does not train, and the live one."""
        model = self._config.model
        info = CheckpointInfo(
            kind="encoder",
            backbone=self.backbone.traits.name,
            base=self._config.model.base or "",
            base_revision=self._config.model.revision or "",
            vae=vae_name(model.vae, family=find_family(model.backbone)),
            training_step=step,
        )
        return self.averaged_and_live(self._encoder, live_name=LIVE_FILE, info=info)

    def load(self, folder: Path, *, ema_updates: int) -> None:
        """Continue from a checkpoint of this stage."""
        name = self.backbone.traits.name
        average = load_fitting(folder / ENCODER_FILE, backbone=name)
        live = load_fitting(folder / LIVE_FILE, backbone=name)
        try:
            self._encoder.load_state_dict(live)
            self.ema.load([average[key] for key in self._keys], num_updates=ema_updates)
        except (RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(
                f"the encoder in {folder} does not fit this backbone's.",
                hint="resume with the settings the run was started with",
            ) from error

    def _target(self, pairs: Pairs) -> Tensor:
        backbone = self.backbone
        if self._config.target == "pixel":
            return pairs.gt
        if self._config.target == "paper":
            return backbone.decode(backbone.encode(pairs.gt))
        with torch.no_grad(), exchanged(self.groups[0].parameters, self._original):
            return backbone.decode(backbone.encode(pairs.gt))

    @torch.no_grad()
    def _clean_psnr(self, pairs: Pairs) -> Tensor:
        """Reconstruction of the batch's first clean image, in dB."""
        with self._runtime.autocast():
            decoded = self.backbone.decode(self.backbone.encode(pairs.gt[:1]))
        return psnr(decoded.float().clamp(0.0, 1.0), pairs.gt[:1]).mean()
