"""The contract every diffusion model meets, so that restoring and training never ask which model it is.

Images are RGB, (B, 3, H, W), float32 in 0..1; the range -1..1 and the model's own dtype stay inside. Latents are scaled and
shifted the way the denoiser expects them, (B, C, H / f, W / f), float32, never packed: packing is a backbone's own matter.
Methods track gradients; callers that only restore wrap them in `torch.inference_mode()`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from hypir_cli.errors import BackboneError, DeviceError
from hypir_cli.models import prediction
from hypir_cli.models.backbones.controls import ControlEmbedding, Controls
from hypir_cli.models.execution import (
    compute_dtype,
    float32_weights,
    is_quantized,
    module_device,
)
from hypir_cli.models.memory import estimate_tile_bytes
from hypir_cli.models.prediction import PredictionKind
from hypir_cli.pixels.texture import TexturePredictor


@dataclass(frozen=True, kw_only=True)
class BackboneTraits:
    """Facts about a model that restoring and training plan with."""

    name: str
    """Registry name, e.g. `sd2`."""
    prediction: PredictionKind
    """What the denoiser's output means."""
    spatial_factor: int
    """Image pixels per latent pixel, along one axis."""
    latent_channels: int
    """Channels of an unpacked latent."""
    native_tile: int
    """Tile side in image pixels at which the model was trained or works best."""
    tile_multiple: int
    """Tile sides must be multiples of this many image pixels."""
    lora_targets: tuple[str, ...]
    """Module name endings that get adapters."""
    timestep: int
    """Timestep that goes into the denoiser, 0..999."""
    coeff_timestep: int
    """Timestep that picks the coefficients of the clean-latent formula, 0..999."""
    uses_prompt: bool = True
    """Whether a prompt changes the result in a way its makers vouch for."""
    num_train_timesteps: int = 1000
    """Length of the training schedule."""
    trained_as_one: bool = False
    """Whether encoder, denoiser and decoder were trained together, so that what the decoder makes of a smaller step of the denoiser is
    no restoration that is nearer to the input."""


@dataclass(frozen=True, kw_only=True)
class PromptEmbeds:
    """Text conditioning of B prompts."""

    sequence: Tensor
    """Token embeddings, (B, L, D)."""
    pooled: Tensor | None = None
    """One vector per prompt, (B, P), for models that want it."""
    mask: Tensor | None = None
    """1 for real tokens, (B, L), for models that want it."""

    def select(self, indices: Sequence[int]) -> PromptEmbeds:
        """Rows by index, repeats allowed: (len(indices), ...)."""
        rows = torch.as_tensor(list(indices), device=self.sequence.device)
        return self._map(lambda value: value[rows])

    def to(self, device: torch.device | str) -> PromptEmbeds:
        """The same embeddings on another device."""
        return self._map(lambda value: value.to(device))

    def detach(self) -> PromptEmbeds:
        """The same embeddings without a gradient history."""
        return self._map(Tensor.detach)

    @property
    def num_bytes(self) -> int:
        """Memory that the embeddings take."""
        values = (self.sequence, self.pooled, self.mask)
        return sum(value.nbytes for value in values if value is not None)

    def _map(self, function: Callable[[Tensor], Tensor]) -> PromptEmbeds:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: function(value) for name, value in values.items() if value is not None}
        return replace(self, **changed)

    @staticmethod
    def stack(parts: Sequence[PromptEmbeds]) -> PromptEmbeds:
        """Embeddings of several batches as one batch; all parts come from the same backbone."""

        def joined(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else torch.cat(values)

        return PromptEmbeds(
            sequence=torch.cat([part.sequence for part in parts]),
            pooled=joined("pooled"),
            mask=joined("mask"),
        )


class Backbone(ABC):
    """A VAE, text encoders and a denoiser that is called once.

    Attributes:
        traits: Facts about the model.
        denoiser: The network that adapters go into.
        control_embedding: Texture and generativity conditioning; None until `enable_controls`.
        texture_predictor: Guesses the texture for `auto`; None where the weights bring none (a LoRA may).
    """

    reads_vae_alone: ClassVar[bool] = False
    """Whether the class's `load` takes `only_vae`, which spares reading what encoding and decoding do not need."""
    traits: BackboneTraits
    denoiser: nn.Module
    control_embedding: ControlEmbedding | None = None
    texture_predictor: TexturePredictor | None = None

    @property
    def has_posterior(self) -> bool:
        """Whether `encode` makes anything of `noise`."""
        return True

    @abstractmethod
    def components(self) -> Mapping[str, nn.Module]:
        """The live modules by name: `vae`, `denoiser`, and text encoders (`text_encoder`, `text_encoder_2`...).

        Text encoders are absent after `release_text_encoders`.
        """

    @abstractmethod
    def encoder_module(self) -> nn.Module:
        """The part of the VAE that maps pixels to latent moments: what `train-encoder` trains, saves and loads."""

    @abstractmethod
    def encode(self, images: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """Scaled latents of images.

        Args:
            images: (B, 3, H, W) in 0..1, sides multiples of `traits.spatial_factor`.
            noise: Standard normal, (B, C, h, w), to sample the posterior; None takes its mean.

        Returns:
            (B, C, h, w) float32.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Images of scaled latents: (B, 3, H, W) float32, around 0..1, not clamped."""

    @abstractmethod
    def encode_prompts(self, prompts: Sequence[str]) -> PromptEmbeds:
        """Text conditioning, one row per prompt.

        Raises:
            BackboneError: The text encoders were released.
        """

    @abstractmethod
    def token_overflow(self, prompt: str) -> str:
        """The part of a prompt that does not fit the text encoder and is dropped; empty when all fits."""

    @abstractmethod
    def release_text_encoders(self) -> None:
        """Free the text encoders' memory; prompts must have been encoded before."""

    def denoise(
        self,
        latents: Tensor,
        *,
        prompt: PromptEmbeds,
        timestep: Tensor,
        controls: Controls | None = None,
    ) -> Tensor:
        """One call of the denoiser.

        Args:
            latents: (B, C, h, w) scaled latents.
            prompt: Conditioning with B rows.
            timestep: (B,) or scalar, float or integer, in 0..999.
            controls: Texture and generativity of each row; needs `enable_controls` first.

        Returns:
            Noise, velocity or flow, as `traits.prediction` says, (B, C, h, w) float32.

        Raises:
            BackboneError: Controls are given but `enable_controls` was never called.
        """
        control = self.control_vector(controls, batch=len(latents))
        return self.call_denoiser(latents, prompt, timestep, control).float()

    @abstractmethod
    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
    ) -> Tensor:
        """The denoiser's output, (B, C, h, w), for latents of that shape; moves and casts what it is given.

        Args:
            latents: Scaled latents.
            prompt: Conditioning with B rows.
            timestep: (B,) or scalar, in 0..999.
            control: What enters the timestep path, (B, control_dim()) float32; None for nothing.
        """

    @abstractmethod
    def alpha_or_sigma(self, timestep: Tensor) -> Tensor:
        """`alphas_cumprod` (epsilon, v) or `sigma` (flow) at timesteps, same shape as `timestep`, float32."""

    @abstractmethod
    def control_dim(self) -> int:
        """Length of the vector through which controls enter the timestep path."""

    def enable_controls(self) -> ControlEmbedding:
        """Add the (zero-initialised) control embedding, or return the one that is there."""
        if self.control_embedding is None:
            self.control_embedding = ControlEmbedding(self.control_dim()).to(self.device)
        return self.control_embedding

    def control_vector(self, controls: Controls | None, *, batch: int) -> Tensor | None:
        """What enters the timestep path, (batch, control_dim()) float32; None without a control embedding.

        A number that is not given has its own learned place, so an absent `controls` is not nothing.

        Raises:
            BackboneError: Controls are given but `enable_controls` was never called.
        """
        if self.control_embedding is not None:
            vector: Tensor = self.control_embedding(controls or Controls(), batch=batch)
            return vector
        if controls is None:
            return None
        raise BackboneError(
            f"this {self.traits.name} has no texture or generativity conditioning.",
            hint="load a checkpoint that was trained with it, or leave the controls out",
        )

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations of the denoiser and the VAE in the backward pass: less memory, more time."""
        for name in ("denoiser", "vae"):
            enable = getattr(self.components()[name], "enable_gradient_checkpointing", None)
            if enable is not None:
                enable()

    def predict_clean(self, latents: Tensor, output: Tensor, *, timestep: Tensor) -> Tensor:
        """Clean latent implied by one denoiser output.

        Args:
            latents: What went into `denoise`, (B, C, h, w).
            output: What came out.
            timestep: The coefficient timestep, scalar or (B,).

        Returns:
            (B, C, h, w) float32.
        """
        value = self.alpha_or_sigma(timestep).to(latents.device)
        value = value.reshape(-1, 1, 1, 1)
        if self.traits.prediction == "epsilon":
            return prediction.z0_from_eps(latents, output, alpha_cumprod=value)
        if self.traits.prediction == "v_prediction":
            return prediction.z0_from_v(latents, output, alpha_cumprod=value)
        return prediction.z0_from_flow(latents, output, sigma=value)

    def add_noise(self, latents: Tensor, noise: Tensor, *, timestep: Tensor) -> Tensor:
        """The forward process: latents noised to a timestep (scalar or (B,)), (B, C, h, w)."""
        value = self.alpha_or_sigma(timestep).to(latents).reshape(-1, 1, 1, 1)
        if self.traits.prediction == "flow":
            return (1.0 - value) * latents + value * noise
        return value.sqrt() * latents + (1.0 - value).sqrt() * noise

    def activation_bytes(self, tile: int) -> int:
        """Peak bytes of activations while one tile of that side (image pixels) is restored.

        The default is what the decoder of an 8-fold VAE takes, which is more than any denoiser does.
        """
        width = torch.finfo(self.dtype).bits // 8 if self.dtype.is_floating_point else 2
        return estimate_tile_bytes(tile, bytes_per_value=width)

    @property
    def device(self) -> torch.device:
        """Where the denoiser computes, also when its weights wait elsewhere."""
        return module_device(self.denoiser)

    @property
    def dtype(self) -> torch.dtype:
        """What the denoiser computes in, whatever its weights and adapters are stored as."""
        return compute_dtype(self.denoiser)

    @contextmanager
    def in_float32(self, *names: str) -> Iterator[None]:
        """Compute in float32 inside the block (a rescue for overflowing half precision), then go back.

        Args:
            names: Networks by the names of `components`; none given takes those that restore, `vae` and `denoiser`.

        Raises:
            DeviceError: The denoiser is meant and quantised, so there are no exact weights to compute with.
        """
        parts = self.components()
        chosen = [parts[name] for name in names or ("vae", "denoiser") if name in parts]
        if any(is_quantized(module) for module in chosen):
            raise DeviceError(
                f"the quantised {self.traits.name} overflows in {self.dtype}.",
                hint="use --quantize none, another --quantize, or --dtype bf16",
            )
        with ExitStack() as stack:
            for module in chosen:
                stack.enter_context(float32_weights(module))
            yield
