"""Mirrored images beside the others: a pattern that a model draws on a grid of its own comes out mirrored wrong.

What is in a photograph turns with it when the photograph is mirrored or turned; lines and weaves that a generator lays along edges,
because a judge asks for detail, start at the latent's cells and do not. So the difference between a result and that of the mirrored
image, mirrored back, is mostly such patterns; detail that a model does not yet draw alike both ways is softened too.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hypir_cli.models.backbones.controls import Controls
from hypir_cli.train import draws
from hypir_cli.train.stage import Pairs
from hypir_cli.train.symmetry import SYMMETRIES, mirrored, mirrored_back


def with_mirrored(pairs: Pairs) -> tuple[Pairs, int]:
    """The pairs followed by the same ones mirrored or turned, twice as many, and the symmetry; the first key draws it, not 0.

    Args:
        pairs: Of square images.
    """
    place = float(draws.uniform(pairs.keys[:1], "mirror").item())
    symmetry = 1 + int(place * (SYMMETRIES - 1))

    def doubled(images: Tensor) -> Tensor:
        return torch.cat((images, mirrored(images, symmetry)))

    return replace(
        pairs,
        lq=doubled(pairs.lq),
        gt=doubled(pairs.gt),
        prompts=pairs.prompts * 2,
        keys=pairs.keys * 2,
        target=None if pairs.target is None else doubled(pairs.target),
    ), symmetry


def mirror_loss(images: Tensor, *, symmetry: int, controls: Controls | None = None) -> Tensor:
    """Mean absolute difference, on the scale -1..1, of results from those of the mirrored images, mirrored back; scalar.

    Args:
        images: (2 B, 3, S, S) in 0..1, of the pairs that `with_mirrored` made.
        symmetry: What it drew.
        controls: What was asked: where noise was mixed into the latent, which is not mirrored, a result need not be.
    """
    straight, turned = images.float().chunk(2)
    distance = 2.0 * (straight - mirrored_back(turned, symmetry)).abs().flatten(1).mean(1)
    if controls is None or controls.generativity is None:
        return distance.mean()
    counted = (controls.generativity[: len(straight)] == 0).to(distance)
    return (distance * counted).sum() / counted.sum().clamp(min=1.0)
