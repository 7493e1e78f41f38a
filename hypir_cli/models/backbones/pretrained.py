"""What every model in diffusers' folder layout does the same way: its VAE, its modules, letting go of text encoders."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from hypir_cli.config.families import find_family
from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.base import Backbone, BackboneTraits
from hypir_cli.models.backbones.schedule import read_scheduler_config
from hypir_cli.models.components import (
    empty_component,
    freeze_on_device,
    load_component,
    load_tokenizer,
)
from hypir_cli.models.device import release_cached_memory
from hypir_cli.models.execution import module_device
from hypir_cli.models.hub import find_base
from hypir_cli.models.layout import WEIGHTLESS, missing_parts
from hypir_cli.models.memory import estimate_tile_bytes
from hypir_cli.models.prediction import PredictionKind
from hypir_cli.models.vae import DEFAULT, load_vae

Model = TypeVar("Model", bound="PretrainedBackbone")


class PretrainedBackbone(Backbone):
    """A KL autoencoder with scale and shift, text encoders by name, and a denoiser.

    Args:
        networks: By subfolder of the base: `vae`, `unet` or `transformer`, `text_encoder`, `text_encoder_2`...
        tokenizers: By subfolder of the base: `tokenizer`, `tokenizer_2`...
        scheduler_config: Mapping of `scheduler_config.json`; its `clip_sample` is ignored on purpose.

    Raises:
        BackboneError: The configurations are those of another kind of model.
    """

    reads_vae_alone = True
    name: ClassVar[str]
    """Registry name."""
    networks: ClassVar[tuple[type[Any], type[Any]]]
    """Classes of the VAE and of the denoiser."""
    texts: ClassVar[Sequence[tuple[type[Any], type[Any]]]]
    """Classes of each text encoder and its tokenizer, in the order of their subfolders: `text_encoder`, `text_encoder_2`..."""

    def __init__(
        self,
        *,
        networks: Mapping[str, nn.Module],
        tokenizers: Mapping[str, Any],
        scheduler_config: Mapping[str, Any],
    ) -> None:
        family = find_family(self.name)
        self.preset = family.preset
        self.vae: Any = networks["vae"]
        self.denoiser = networks[family.denoiser]
        self.text_encoders = {
            part: network for part, network in networks.items() if part.startswith("text_encoder")
        }
        self.tokenizers = dict(tokenizers)
        prediction = self.prediction_of(scheduler_config, source=f"this {self.name}")
        self.traits = self._traits(prediction)
        self.prepare(scheduler_config)

    @classmethod
    def load(
        cls: type[Model],
        base: str | None = None,
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        vae: str = DEFAULT,
        only_vae: bool = False,
    ) -> Model:
        """The backbone from a diffusers-layout folder or a hub id; None takes the preset's ids.

        `vae` is `default`, `small`, or a folder or hub id of one with the same latents. With `only_vae` the text encoders are not
        there, and the denoiser has its shape and no numbers.

        Raises:
            BackboneError: The weights cannot be found, downloaded or read.
        """
        family = find_family(cls.name)
        root = find_base(base, name=cls.name, preset=family.preset, revision=revision)
        scheduler_config = read_scheduler_config(root / "scheduler")
        cls.prediction_of(scheduler_config, source=str(root))
        parts = dict(cls._present(root, only_vae=only_vae))
        networks = {}
        if vae != DEFAULT:
            del parts["vae"]
            networks["vae"] = load_vae(vae, family=family, base=root, dtype=dtype)
        networks |= {
            part: empty_component(kind, root, part)
            if only_vae and part != "vae"
            else cls.load_network(kind, root, part, dtype=dtype)
            for part, kind in parts.items()
            if part not in WEIGHTLESS
        }
        tokenizers = {
            part: load_tokenizer(kind, root, part)
            for part, kind in parts.items()
            if part in WEIGHTLESS
        }
        backbone = cls(networks=networks, tokenizers=tokenizers, scheduler_config=scheduler_config)
        freeze_on_device(backbone.components(), device=torch.device(device))
        return backbone

    @classmethod
    def _present(cls, root: Path, *, only_vae: bool) -> dict[str, type[Any]]:
        """The parts to read and their classes: all that the folder has, or VAE and denoiser."""
        family = find_family(cls.name)
        parts = dict(zip(("vae", family.denoiser), cls.networks, strict=True))
        if only_vae:
            return parts
        for number, (encoder, tokenizer) in enumerate(cls.texts, 1):
            suffix = f"_{number}" if number > 1 else ""
            parts |= {f"text_encoder{suffix}": encoder, f"tokenizer{suffix}": tokenizer}
        optional = family.preset.optional_components
        left_out = optional if missing_parts(root, optional) else ()
        return {part: kind for part, kind in parts.items() if part not in left_out}

    @classmethod
    def load_network(cls, kind: type[Any], root: Path, part: str, *, dtype: torch.dtype) -> Any:
        """One network of a base folder.

        Raises:
            BackboneError: Its weights cannot be read.
        """
        return load_component(kind, root, part, dtype=dtype)

    @classmethod
    @abstractmethod
    def prediction_of(cls, scheduler_config: Mapping[str, Any], *, source: str) -> PredictionKind:
        """What the denoiser's output means, by the configuration of its scheduler.

        Raises:
            BackboneError: A model of another kind.
        """

    def prepare(self, scheduler_config: Mapping[str, Any]) -> None:
        """Whatever a family makes of its loaded parts, once.

        Raises:
            BackboneError: They are of another member of the family.
        """

    @abstractmethod
    def latent_multiple(self) -> int:
        """Sides of a latent must be multiples of this."""

    def components(self) -> Mapping[str, nn.Module]:
        """The live modules by name."""
        return {**self.text_encoders, "denoiser": self.denoiser, "vae": self.vae}

    def encoder_module(self) -> nn.Module:
        """Encoder and, where the VAE has one, the convolution that turns its features into moments."""
        parts = {"encoder": self.vae.encoder, "quant_conv": getattr(self.vae, "quant_conv", None)}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Scaled and shifted latents of images."""
        pixels = (images * 2.0 - 1.0).to(module_device(self.vae), self._vae_dtype())
        encoded = self.vae.encode(pixels)
        if not self.has_posterior:
            return self.normalize(encoded.latents.float())
        posterior = encoded.latent_dist
        latents = posterior.mean.float()
        if noise is not None:
            latents = latents + posterior.std.float() * noise.to(latents)
        return self.normalize(latents)

    def enable_gradient_checkpointing(self) -> None:
        """See `Backbone.enable_gradient_checkpointing`; a small VAE keeps its few activations.

        The checkpointing of diffusers' `AutoencoderTiny` leaves out the scaling of its input and output, which changes the result.
        """
        super().enable_gradient_checkpointing()
        if isinstance(self.vae, AutoencoderTiny):
            self.vae.disable_gradient_checkpointing()

    @property
    def has_posterior(self) -> bool:
        """Whether the VAE gives a spread beside its latents; a small one gives none."""
        return not isinstance(self.vae, AutoencoderTiny)

    def decode(self, latents: Tensor) -> Tensor:
        """Images of scaled and shifted latents."""
        raw = self.denormalize(latents.float())
        raw = raw.to(module_device(self.vae), self._vae_dtype())
        pixels: Tensor = self.vae.decode(raw, return_dict=False)[0]
        return pixels.float() / 2.0 + 0.5

    def normalize(self, latents: Tensor) -> Tensor:
        """The VAE's own latents as the denoiser wants them, (B, C, h, w) float32."""
        config = self.vae.config
        return (latents - (config.shift_factor or 0.0)) * float(config.scaling_factor)

    def denormalize(self, latents: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        config = self.vae.config
        return latents / float(config.scaling_factor) + (config.shift_factor or 0.0)

    @property
    def denoiser_config(self) -> Any:
        """The denoiser's `config.json`."""
        denoiser: Any = self.denoiser
        return denoiser.config

    def activation_bytes(self, tile: int) -> int:
        """Peak bytes of activations of one tile: the VAE's, in whose dtype the largest ones are."""
        small = isinstance(self.vae, AutoencoderTiny)
        return estimate_tile_bytes(
            tile, bytes_per_value=self._vae_dtype().itemsize, small_vae=small
        )

    def to_denoiser(self, tensor: Tensor) -> Tensor:
        """A tensor where and in what the denoiser computes."""
        return tensor.to(self.device, self.dtype)

    def add_control(self, pooled: Tensor, control: Tensor | None) -> Tensor:
        """The pooled prompt vector plus the control vector, (B, P), ready for the denoiser."""
        pooled = pooled.to(self.device)
        return (pooled if control is None else pooled + control).to(self.dtype)

    def text_encoder(self, name: str) -> nn.Module:
        """A text encoder that is still in memory.

        Raises:
            BackboneError: It was released.
        """
        if name not in self.text_encoders:
            raise BackboneError(
                f"the text encoders of {self.traits.name} were released, a new prompt cannot be encoded.",
                hint="encode all prompts before release_text_encoders, or load the backbone again",
            )
        return self.text_encoders[name]

    def release_text_encoders(self) -> None:
        """Free the text encoders' memory."""
        self.text_encoders.clear()
        release_cached_memory()

    def _traits(self, prediction: PredictionKind) -> BackboneTraits:
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        preset = self.preset
        return BackboneTraits(
            name=self.name,
            prediction=prediction,
            spatial_factor=factor,
            latent_channels=int(self.vae.config.latent_channels),
            native_tile=preset.native_tile or int(self.denoiser_config.sample_size) * factor,
            tile_multiple=factor * self.latent_multiple(),
            lora_targets=preset.lora_targets,
            timestep=preset.timestep,
            coeff_timestep=preset.coeff_timestep,
        )

    def _vae_dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.vae.parameters()).dtype
        return dtype
