"""What the families trained as rectified flows share, SD3, FLUX.1 and FLUX.2: one convention for the noise level.

These models see the timestep `1000 * sigma`, where sigma is the noise share of the latent after whatever shift the family's
scheduler applies. The shift only decides at which of these sigmas a sampler with many steps stops by; so a timestep of 200 means
sigma 0.2 for the network and for the clean-latent formula alike, whatever the shift, and no second shift may be applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hypir_cli.errors import BackboneError
from hypir_cli.models.backbones.pretrained import PretrainedBackbone
from hypir_cli.models.prediction import PredictionKind

SCHEDULER_CLASS = "FlowMatchEulerDiscreteScheduler"


class FlowBackbone(PretrainedBackbone):
    """A transformer that predicts a flow velocity."""

    @classmethod
    def prediction_of(cls, scheduler_config: Mapping[str, Any], *, source: str) -> PredictionKind:
        """Flow; see `require_flow`."""
        require_flow(scheduler_config, source=source)
        return "flow"

    def alpha_or_sigma(self, timestep: Tensor) -> Tensor:
        """Noise share in 0..1 of the timestep that the network is given.

        Source: Stable Diffusion 3 (arXiv:2403.03206), section 3.1.
        """
        return timestep.float() / self.traits.num_train_timesteps


def require_flow(scheduler_config: Mapping[str, Any], *, source: str) -> None:
    """Check that a model was trained as a rectified flow with noise at sigma 1.

    Raises:
        BackboneError: Its scheduler is of another kind.
    """
    kind = scheduler_config.get("_class_name")
    if kind == SCHEDULER_CLASS and not scheduler_config.get("invert_sigmas"):
        return
    raise BackboneError(
        f"{source} has the scheduler {kind}, a rectified flow ({SCHEDULER_CLASS}) was expected.",
        hint="choose the backbone that this model belongs to",
    )
