"""The second-order degradation pipeline: parameters are drawn per sample, then applied to images on their device."""

from __future__ import annotations

from hypir_cli.train.degradation.draw import draw_parameters
from hypir_cli.train.degradation.filtering import usm_sharpen
from hypir_cli.train.degradation.parameters import DegradationParameters
from hypir_cli.train.degradation.pipeline import Degrader, apply

__all__ = ["DegradationParameters", "Degrader", "apply", "draw_parameters", "usm_sharpen"]
