"""What the adversarial stage trains of a backbone: adapters of its denoiser, or all of its weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hypir_cli.config.run_dir import LORA_FILE
from hypir_cli.errors import ConfigError
from hypir_cli.models.backbones.base import Backbone
from hypir_cli.models.lora import load_lora_state_dict, lora_state_dict, trainable_parameters
from hypir_cli.models.whole import load_whole, whole_modules


class TrainedWeights(ABC):
    """Weights of a backbone by name.

    Attributes:
        file_name: What a checkpoint calls the file of the live ones.
        reach_encoder: Whether the VAE's encoder is among them, so that gradients have to reach it.
        reach_controls: Whether a control embedding may train with them: its gradients come through the denoiser.
    """

    file_name: str
    reach_encoder: bool
    reach_controls: bool = True

    @abstractmethod
    def named(self) -> Mapping[str, nn.Parameter]:
        """The live weights, always in the same order."""

    @abstractmethod
    def load(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """Copy what a checkpoint holds into the live weights.

        Raises:
            CheckpointError: Keys or shapes differ.
        """


class AdapterWeights(TrainedWeights):
    """The adapters that were put into a denoiser.

    Args:
        denoiser: Has them already.
    """

    file_name = LORA_FILE
    reach_encoder = False

    def __init__(self, denoiser: nn.Module) -> None:
        self._denoiser = denoiser

    def named(self) -> Mapping[str, nn.Parameter]:
        """Both halves of every adapter."""
        keys = sorted(lora_state_dict(self._denoiser))
        return dict(zip(keys, trainable_parameters(self._denoiser), strict=True))

    def load(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """Copy into adapters of the same ranks."""
        load_lora_state_dict(self._denoiser, tensors, source=source)


class WholeWeights(TrainedWeights):
    """All weights of the VAE and the denoiser, kept in float32.

    Args:
        backbone: In float32; its weights start to require gradients.
        frozen: Beginnings of names whose weights do not; they are saved beside the others.

    Raises:
        ConfigError: No name begins like this, or nothing is left to train.
    """

    file_name = "weights.safetensors"

    def __init__(self, backbone: Backbone, *, frozen: Sequence[str] = ()) -> None:
        self._backbone = backbone
        weights = self.named()
        for start in frozen:
            if not any(_begins(name, start) for name in weights):
                raise ConfigError(f"lora.frozen: no weight's name begins with {start!r}")
        trained = {name for name in weights if not any(_begins(name, start) for start in frozen)}
        if not trained:
            raise ConfigError("lora.frozen leaves no weight to train")
        for name, parameter in weights.items():
            parameter.requires_grad_(name in trained)
        encoder = backbone.encoder_module().parameters()
        self.reach_encoder = any(parameter.requires_grad for parameter in encoder)
        denoiser = backbone.denoiser.parameters()
        self.reach_controls = any(parameter.requires_grad for parameter in denoiser)

    def named(self) -> Mapping[str, nn.Parameter]:
        """`vae.*` and `denoiser.*`."""
        return {
            f"{part}.{name}": parameter
            for part, module in whole_modules(self._backbone).items()
            for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], *, source: str) -> None:
        """Copy into the networks."""
        load_whole(self._backbone, tensors, source=source)


def _begins(name: str, start: str) -> bool:
    """Whether a dotted name is `start` or lies below it."""
    return f"{name}.".startswith(f"{start.rstrip('.')}.")
