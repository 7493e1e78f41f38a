"""What a LoRA file holds, free of the file's own naming habits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hypir_cli.models.checkpoint import CheckpointInfo

CONTROL_PREFIX = "control_embedding."
"""Keys in a file that belong to the texture and generativity embedding."""
PREDICTOR_PREFIX = "texture_predictor."
"""Keys in a file that belong to the predictor of texture richness."""
DOWN_SUFFIX = ".lora_A.weight"
UP_SUFFIX = ".lora_B.weight"


@dataclass(frozen=True, kw_only=True)
class LoraState:
    """Adapters of a denoiser, every module with both of its halves."""

    tensors: Mapping[str, Tensor]
    """`<module>.lora_A.weight` (rank, in[, kh, kw]) and `<module>.lora_B.weight` (out, rank[, 1, 1])."""
    alphas: Mapping[str, float]
    """Alpha of each module; its update is scaled by alpha / rank."""
    info: CheckpointInfo
    """Header of the file, or what keys and shapes tell."""
    controls: Mapping[str, Tensor] = field(default_factory=dict)
    """State dict of the control embedding, without its prefix; empty when none was trained."""
    predictor: Mapping[str, Tensor] = field(default_factory=dict)
    """State dict of the texture predictor, without its prefix; empty when none was fitted."""
    source: str = "the adapter"
    """Where it comes from, for error messages."""
    complete: bool = False
    """Whether every layer that `info.lora_targets` names must be present."""

    @property
    def modules(self) -> tuple[str, ...]:
        """Module paths that carry an adapter, sorted."""
        return tuple(
            sorted(
                key.removesuffix(DOWN_SUFFIX) for key in self.tensors if key.endswith(DOWN_SUFFIX)
            )
        )

    @property
    def ranks(self) -> dict[str, int]:
        """Rank of each module."""
        return {name: self.tensors[name + DOWN_SUFFIX].shape[0] for name in self.modules}

    def pair(self, module: str) -> tuple[Tensor, Tensor]:
        """The down (A) and up (B) projection of a module."""
        return self.tensors[module + DOWN_SUFFIX], self.tensors[module + UP_SUFFIX]

    def factor(self, module: str) -> float:
        """What `B @ A` of a module is multiplied with."""
        return self.alphas[module] / self.tensors[module + DOWN_SUFFIX].shape[0]
