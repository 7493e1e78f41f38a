"""Latents as token sequences, and the position ids that go with them, for the FLUX families.

A token is a patch of 2x2 latent pixels; its values are ordered channel first, then row, then column of the patch.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from hypir_cli.models.backbones.base import PromptEmbeds
from hypir_cli.models.backbones.flow import FlowBackbone

PATCH = 2
"""Latent pixels along one side of a token."""


def patchify(latents: Tensor) -> Tensor:
    """Patches as channels: (B, C, h, w) to (B, 4 C, h / 2, w / 2).

    Raises:
        ValueError: An odd height or width.
    """
    height, width = latents.shape[-2:]
    if height % PATCH or width % PATCH:
        raise ValueError(f"latent sides must be multiples of {PATCH}, got {height}x{width}")
    return pixel_unshuffle(latents, PATCH)


def unpatchify(patches: Tensor) -> Tensor:
    """The inverse of `patchify`: (B, 4 C, h / 2, w / 2) to (B, C, h, w)."""
    return pixel_shuffle(patches, PATCH)


def to_tokens(patches: Tensor) -> Tensor:
    """Patches row by row: (B, D, h, w) to (B, h w, D)."""
    return patches.flatten(2).transpose(1, 2)


def from_tokens(tokens: Tensor, *, height: int, width: int) -> Tensor:
    """The inverse of `to_tokens` for a grid of height x width patches: (B, h w, D) to (B, D, h, w)."""
    batch, _, channels = tokens.shape
    return tokens.transpose(1, 2).reshape(batch, channels, height, width)


def grid_ids(*, height: int, width: int, axes: int) -> Tensor:
    """Row and column of every patch on axes 1 and 2, other axes 0: (height * width, axes) float32."""
    ids = torch.zeros(height, width, axes)
    ids[..., 1] = torch.arange(height)[:, None]
    ids[..., 2] = torch.arange(width)[None, :]
    return ids.flatten(0, 1)


class PackedFlowBackbone(FlowBackbone):
    """A flow transformer whose tokens are patches of 2x2 latent pixels."""

    num_axes: ClassVar[int]
    """Axes of a position id; row and column of a patch are axes 1 and 2."""

    def latent_multiple(self) -> int:
        """Side of a patch."""
        return PATCH

    def call_denoiser(
        self, latents: Tensor, prompt: PromptEmbeds, timestep: Tensor, control: Tensor | None
    ) -> Tensor:
        """One call of the transformer on packed latents, with the timestep as a share of 1000."""
        patches = patchify(self.to_denoiser(latents))
        batch, _, height, width = patches.shape
        sequence = self.to_denoiser(prompt.sequence)
        output: Tensor = self.denoiser(
            hidden_states=to_tokens(patches),
            timestep=timestep.to(patches).expand(batch) / self.traits.num_train_timesteps,
            encoder_hidden_states=sequence,
            txt_ids=self.text_ids(sequence.shape[1]).to(patches.device),
            img_ids=grid_ids(height=height, width=width, axes=self.num_axes).to(patches.device),
            return_dict=False,
            **self.conditions(prompt, control),
        )[0]
        return unpatchify(from_tokens(output, height=height, width=width))

    def text_ids(self, length: int) -> Tensor:
        """Position ids of the text's tokens, (length, num_axes)."""
        return torch.zeros(length, self.num_axes)

    @abstractmethod
    def conditions(self, prompt: PromptEmbeds, control: Tensor | None) -> dict[str, Tensor | None]:
        """What else this transformer is called with, by argument."""
