"""What the training loop knows of a training stage, and what passes between them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from hypir_cli.models.checkpoint import CheckpointInfo
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.ema import Ema


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Degraded images, clean ones, and what is known of them."""

    lq: Tensor
    """(B, 3, H, W) RGB, 0..1."""
    gt: Tensor
    """Same shape."""
    prompts: tuple[str, ...]
    """Prompt of each."""
    keys: tuple[SampleKey, ...]
    """Key of each, from which all its random draws follow."""
    target: Tensor | None = None
    """Same shape: what the result shall be, where that is not the clean image."""

    @property
    def reference(self) -> Tensor:
        """`target`, or the clean images."""
        return self.gt if self.target is None else self.target

    def __len__(self) -> int:
        return len(self.prompts)


class Teacher(Protocol):
    """A restorer that training imitates."""

    scale: int
    """Result side / input side."""

    def __call__(self, images: Tensor) -> Tensor:
        """Restored images (B, 3, scale H, scale W) around 0..1 of images (B, 3, H, W), 0..1."""


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Weights with an optimiser of their own."""

    name: str
    """Name in logs and files."""
    parameters: Sequence[nn.Parameter]
    """The weights."""
    judges: bool = False
    """Whether it is the discriminator's and takes its step size."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """One file of a checkpoint."""

    name: str
    """File name."""
    tensors: Mapping[str, Tensor]
    """Its tensors."""
    info: CheckpointInfo
    """Its header."""


class Stage(ABC):
    """One kind of training: its weights, its losses, its results.

    Attributes:
        groups: The weights that train.
        ema: Average of the weights that restoring uses.
        result_name: File that a finished run leaves in its folder.
        needs_lq: Whether `accumulate` looks at the degraded images; where not, they are the clean ones in training.
        teacher: Restorer whose results become the target where it can make them.
    """

    groups: tuple[ParameterGroup, ...]
    ema: Ema
    result_name: str
    needs_lq: bool = True
    teacher: Teacher | None = None

    @abstractmethod
    def accumulate(self, pairs: Pairs, *, scale: float) -> dict[str, Tensor]:
        """Add the gradients of one batch, multiplied by `scale`; gives scalars to log, detached."""

    @abstractmethod
    def updated(self) -> None:
        """The optimisers have moved the weights."""

    @abstractmethod
    def restore(self, pairs: Pairs) -> Tensor:
        """Restored images of `pairs.lq`, not clamped, the way the result will be used; without gradients."""

    @abstractmethod
    def files(self, *, step: int) -> list[WeightsFile]:
        """Everything a checkpoint has to keep of this stage, the averaged result first."""

    @abstractmethod
    def load(self, folder: Path, *, ema_updates: int) -> None:
        """Continue from what `files` gave.

        Raises:
            CheckpointError: A file is missing, damaged or does not fit.
        """

    def averaged_and_live(
        self, network: nn.Module, *, live_name: str, info: CheckpointInfo
    ) -> list[WeightsFile]:
        """Files of a whole network: the result, with the averaged weights, and what trains on."""
        with self.averaged():
            average = {key: value.clone() for key, value in network.state_dict().items()}
        return [
            WeightsFile(name=self.result_name, tensors=average, info=replace(info, ema=True)),
            WeightsFile(name=live_name, tensors=network.state_dict(), info=info),
        ]

    def averaged(self) -> AbstractContextManager[None]:
        """The averaged weights are live inside the block."""
        return self.ema.applied()
