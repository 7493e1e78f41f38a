"""The noise schedule of a model, from the configuration file that comes with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from hypir_cli.errors import BackboneError
from hypir_cli.models.prediction import PredictionKind, scaled_linear_alphas_cumprod


def read_scheduler_config(folder: Path) -> dict[str, Any]:
    """The mapping in `scheduler_config.json`.

    Raises:
        BackboneError: It is missing or not JSON.
    """
    path = folder / "scheduler_config.json"
    try:
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise BackboneError(
            f"cannot read {path}: {error}.", hint="copy or download the base weights again"
        ) from error


def alphas_cumprod(config: Mapping[str, Any]) -> Tensor:
    """Cumulative alphas of a schedule, float64 (num_train_timesteps,).

    `clip_sample` and thresholding in the configuration are ignored on purpose: they would clamp the clean latent.

    Raises:
        BackboneError: A kind of schedule that is not known.

    Source: DDPM (arXiv:2006.11239); rescaling to zero terminal signal, arXiv:2305.08891, algorithm 1.
    """
    kind = config.get("beta_schedule", "linear")
    start, end = float(config.get("beta_start", 0.0001)), float(config.get("beta_end", 0.02))
    steps = int(config.get("num_train_timesteps", 1000))
    if config.get("trained_betas") is not None:
        values = torch.cumprod(1.0 - torch.tensor(config["trained_betas"]).double(), dim=0)
    elif kind == "scaled_linear":
        values = scaled_linear_alphas_cumprod(beta_start=start, beta_end=end, num_timesteps=steps)
    elif kind == "linear":
        values = torch.cumprod(1.0 - torch.linspace(start, end, steps).double(), dim=0)
    else:
        raise BackboneError(
            f"the noise schedule {kind!r} is not supported.",
            hint="beta_schedule must be scaled_linear or linear",
        )
    if config.get("rescale_betas_zero_snr", False):
        root = values.sqrt()
        values = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return values


def look_up(table: Tensor, timestep: Tensor) -> Tensor:
    """Values of a schedule at timesteps, in the shape of `timestep`, on its device, without waiting for that device.

    Args:
        table: (num_train_timesteps,).
        timestep: Any shape, float or integer, in 0..len(table) - 1.
    """
    # A single number as index would be asked for its value, and the device for all its work before.
    places = timestep.reshape(-1).round().long()
    return table.to(timestep.device)[places].reshape(timestep.shape)


def prediction_kind(config: Mapping[str, Any]) -> PredictionKind:
    """What the denoiser predicts, as the configuration says.

    Raises:
        BackboneError: A kind without a clean-latent formula here.
    """
    kind = config.get("prediction_type", "epsilon")
    if kind not in ("epsilon", "v_prediction"):
        raise BackboneError(
            f"the prediction type {kind!r} is not supported.",
            hint="prediction_type must be epsilon or v_prediction",
        )
    return cast("PredictionKind", kind)
