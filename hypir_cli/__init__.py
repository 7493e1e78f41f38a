"""hypir: degraded photographs in, clean ones out, in one forward pass of a diffusion model."""

from __future__ import annotations

__version__ = "0.1.0"
