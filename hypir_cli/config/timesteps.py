"""Timesteps of a diffusion model."""

from __future__ import annotations

NUM_TIMESTEPS = 1000
"""Length of the training schedule of every backbone."""


def check_timestep(name: str, value: int | None) -> None:
    """Refuse a timestep outside the schedule with a `ValueError` that names it; None passes."""
    if value is not None and not 0 <= value < NUM_TIMESTEPS:
        raise ValueError(f"{name} must be in 0..{NUM_TIMESTEPS - 1}, got {value}")
