"""The texture that a result shall have: as asked or predicted, and met after the model."""

from __future__ import annotations

import math

import torch

from hypir_cli.config.restore import ControlConfig
from hypir_cli.images import ImageData
from hypir_cli.images.data import Pixels
from hypir_cli.pixels.detail import Detail, match_texture, measure_detail
from hypir_cli.pixels.texture import TexturePredictor
from hypir_cli.restore.outcome import Outcome
from hypir_cli.restore.streaming import InputWindows

PROBE_SIDE = 384
"""Side in pixels of the windows from which automatic texture is predicted."""
PROBE_COUNT = 3
"""Such windows along each axis, at most."""
AUTO_GAIN = 0.5
"""Fine detail is amplified by at most 1 and this times the root of the enlargement to reach a predicted texture: what is enlarged
lacks more of it, and loses less by it (`benchmarks/peers.py`)."""
AUTO_SHARE = 0.5
"""Of a predicted texture that is aimed at: predictions are often off by a factor of 2, and detail that is there needs no more."""
TEXTURE_TOLERANCE = 0.1
"""A result whose texture is further from what was asked, by this share of it, gets a note."""
CLEAN_NOISE, CLEAN_TEXTURE = 1.1, 0.9
"""An input was clean whose noise is at most this many times the result's, and its texture at least."""


def meet_texture(
    pixels: Pixels,
    outcome: Outcome,
    *,
    given: Pixels,
    control: ControlConfig,
    scale: float,
    parity: bool,
) -> None:
    """Bring a result, in place, to the outcome's texture, and note there what was reached.

    A predicted texture is only approached, since the prediction may be wrong, never by softening, and only as far as the input
    (`given`) allows; with `parity` it is left alone.
    """
    wanted = outcome.texture
    if wanted is None or (parity and control.texture == "auto"):
        outcome.detail_gains.append(1.0)
        return
    least, most = 1.0 / control.texture_gain, control.texture_gain
    before = measure_detail(pixels)
    if control.texture == "auto":
        most = min(most, 1.0 + AUTO_GAIN * math.sqrt(max(scale, 1.0)))
        least, wanted = 1.0, AUTO_SHARE * wanted
        if wanted > before.richness and given.shape == pixels.shape:
            wanted = min(wanted, texture_limit(measure_detail(given), before))
    match = match_texture(pixels, wanted, least=least, most=most, before=before)
    outcome.detail_gains.append(match.gain)
    outcome.textures_reached.append(match.reached)
    if control.texture != "auto" and abs(match.reached - wanted) > TEXTURE_TOLERANCE * wanted:
        why = (
            "more would draw rims or noise"
            if match.reached < wanted
            else "less would blur its edges"
        )
        outcome.notes.append(
            f"texture {wanted:g} was asked, {match.reached:.0f} is reached: {why}."
        )


def texture_limit(given: Detail, result: Detail) -> float:
    """Most texture that a result may get by prediction: what is in the input cannot have been missing from it.

    An input that had the result's texture and no more noise was clean: the model took nothing away and added nothing, and the result
    stays as it is. One with more texture, which may be noise, is the limit; a blurred one sets none, nor does one that was enlarged,
    whose detail says nothing about that of the result.

    Args:
        given: Detail of the input, which has the result's size.
        result: Detail of the result.
    """
    if given.richness < CLEAN_TEXTURE * result.richness:
        return math.inf
    clean = given.noise <= CLEAN_NOISE**2 * result.noise
    return result.richness if clean else max(given.richness, result.richness)


@torch.inference_mode()
def predict_texture(
    predictor: TexturePredictor, image: ImageData, *, size: tuple[int, int]
) -> float:
    """Texture richness of the clean image behind a degraded one, from evenly spread windows of it."""
    source = InputWindows(image.pixels, out_size=size)
    rows, columns = (_spread(length) for length in size)
    values = [float(predictor(source.window(row, column))) for row in rows for column in columns]
    return sum(values) / len(values)


def _spread(length: int) -> list[tuple[int, int]]:
    side = min(PROBE_SIDE, length)
    count = min(PROBE_COUNT, max(1, length // side))
    starts = [(length - side) * index // max(count - 1, 1) for index in range(count)]
    return [(start, start + side) for start in starts]
