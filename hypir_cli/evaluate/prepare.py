"""Bring a restored image and its partners to what the metrics compare: equal sizes, borders cut."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from hypir_cli.config.evaluate import MeasureConfig
from hypir_cli.errors import InputError
from hypir_cli.evaluate.pairing import size_text
from hypir_cli.evaluate.registry import MetricInfo

_MAX_ASPECT_ERROR = 0.02
"""Most by which the input's shape may differ from the restored image's, for rounding to whole pixels."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One restored image with what it is compared with, all (1, 3, H, W), RGB 0..1."""

    restored: Tensor
    """Restored, border cut."""
    restored_whole: Tensor
    """Restored, whole."""
    gt: Tensor | None
    """Clean image, border cut."""
    lq: Tensor | None
    """Input at the restored size, border cut."""
    lq_whole: Tensor | None
    """Input at its own size."""

    def inputs(self, info: MetricInfo) -> tuple[Tensor, Tensor | None]:
        """What a metric takes: the restored image and its partner."""
        if info.whole:
            return self.restored_whole, self.lq_whole
        return self.restored, {"gt": self.gt, "lq": self.lq, "": None}[info.needs]


def prepare(
    restored: Tensor, *, gt: Tensor | None, lq: Tensor | None, measure: MeasureConfig
) -> Prepared:
    """Check the sizes and cut the borders.

    Raises:
        InputError: Sizes that do not fit together, or a border as large as the image.
    """
    if gt is not None and gt.shape != restored.shape:
        if measure.resize == "none":
            raise InputError(
                f"it is {size_text(restored)}, its GT {size_text(gt)}.",
                hint="give folders of equal sizes, or --resize gt to resize the restored images",
            )
        restored = _resized(restored, gt)
    if lq is not None:
        _check_aspect(restored, lq)
    at_size = lq if lq is None or lq.shape == restored.shape else _resized(lq, restored)
    border = measure.crop_border
    if 2 * border >= min(restored.shape[-2:]):
        raise InputError(
            f"it is {size_text(restored)}, so a border of {border} pixels leaves nothing.",
            hint="choose a smaller --crop-border",
        )
    return Prepared(
        restored=_cut(restored, border),
        restored_whole=restored,
        gt=None if gt is None else _cut(gt, border),
        lq=None if at_size is None else _cut(at_size, border),
        lq_whole=lq,
    )


def resized(images: Tensor, *, height: int, width: int) -> Tensor:
    """Images of another size, bicubic, within 0..1; those that have it stay as they are."""
    if images.shape[-2:] == (height, width):
        return images
    return functional.interpolate(
        images, (height, width), mode="bicubic", antialias=True, align_corners=False
    ).clamp(0.0, 1.0)


def _resized(images: Tensor, like: Tensor) -> Tensor:
    return resized(images, height=like.shape[-2], width=like.shape[-1])


def _check_aspect(restored: Tensor, lq: Tensor) -> None:
    (height, width), (lq_height, lq_width) = restored.shape[-2:], lq.shape[-2:]
    # A pixel of rounding on either side is a large share of a small input.
    slack = _MAX_ASPECT_ERROR + 1 / min(lq_height, lq_width)
    if abs((width / height) / (lq_width / lq_height) - 1) > slack:
        raise InputError(
            f"it is {size_text(restored)}, its input {size_text(lq)}: not the same shape.",
            hint="check that the LQ folder holds the inputs of this restoration",
        )


def _cut(images: Tensor, border: int) -> Tensor:
    height, width = images.shape[-2:]
    return images[..., border : height - border, border : width - border]
