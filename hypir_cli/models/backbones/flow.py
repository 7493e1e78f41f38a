"""The noise level of rectified flows: one convention for SD3, FLUX.1 and FLUX.2.

These models see the timestep `1000 * sigma`, where sigma is the noise share of the latent after whatever shift the family's
scheduler applies. The shift only decides at which of these sigmas a sampler with many steps stops by; so a timestep of 200 means
sigma 0.2 for the network and for the clean-latent formula alike, whatever the shift, and no second shift may be applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hypir_cli.errors import BackboneError

SCHEDULER_CLASS = "FlowMatchEulerDiscreteScheduler"


def sigma_of(timestep: Tensor, *, num_train_timesteps: int) -> Tensor:
    """Noise share in 0..1 of the timestep that a flow network is given; same shape, float32.

    Source: Stable Diffusion 3 (arXiv:2403.03206), section 3.1.
    """
    return timestep.float() / num_train_timesteps


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
