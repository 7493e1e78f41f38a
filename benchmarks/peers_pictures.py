"""Contact sheets for `peers.py`: every arm beside the others, whole and enlarged where there is most to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from peers_scores import Scores
from peers_sets import PhotoSet, as_tensor, read_pixels
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional

COLUMN = 320
"""Width of a column in pixels."""
ZOOM = 2
"""Enlargement of the crops, nearest neighbour."""
GAP = 8
LABEL = 24
_STEP = 8
"""Places that are tried lie this many pixels apart."""
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def write_sheet(
    path: Path,
    photos: PhotoSet,
    name: str,
    *,
    arms: Sequence[str],
    scores: Mapping[str, Mapping[str, Scores]],
) -> None:
    """One PNG: a row of whole pictures and a row of crops; columns input, arms, GT.

    Args:
        path: The file.
        photos: The set.
        name: Photograph.
        arms: Columns between the input and GT.
        scores: By arm and photograph; PSNR and ST-LPIPS stand in the labels.
    """
    gt = read_pixels(photos.path("gt", name))
    height, width = gt.shape[:2]
    lq = Image.fromarray(read_pixels(photos.path("lq", name)))
    columns = [("input", lq.resize((width, height), Image.Resampling.NEAREST))]
    for arm in arms:
        if arm != "input":
            columns.append((arm, Image.fromarray(read_pixels(photos.path(arm, name)))))
    columns.append(("GT", Image.fromarray(gt)))
    box = textured_box(gt, side=COLUMN // ZOOM)
    full = max(1, round(COLUMN * height / width))
    zoomed = (ZOOM * (box[2] - box[0]), ZOOM * (box[3] - box[1]))
    size = (GAP + len(columns) * (COLUMN + GAP), LABEL + full + GAP + zoomed[1] + GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for index, (label, picture) in enumerate(columns):
        left = GAP + index * (COLUMN + GAP)
        text = label + _figures(scores.get(label, {}).get(name))
        draw.text((left, 3), text, fill=_INK, font=font)
        resample = Image.Resampling.BICUBIC if width > COLUMN else Image.Resampling.NEAREST
        sheet.paste(picture.resize((COLUMN, full), resample), (left, LABEL))
        crop = picture.crop(box).resize(zoomed, Image.Resampling.NEAREST)
        sheet.paste(crop, (left, LABEL + full + GAP))
        if label == "GT":
            factor = COLUMN / width
            corners = [value * factor for value in box]
            frame = (left + corners[0], LABEL + corners[1], left + corners[2], LABEL + corners[3])
            draw.rectangle(frame, outline=(255, 0, 0), width=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def textured_box(gt: np.ndarray, *, side: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the window of 8-bit (H, W, 3) with the most detail (mean squared Laplacian)."""
    side = min(side, *gt.shape[:2])
    luma = as_tensor(gt).mean(1, keepdim=True)
    detail = functional.conv2d(
        functional.pad(luma, (1, 1, 1, 1), mode="replicate"),
        torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None],
    )
    places = functional.avg_pool2d(detail.square(), side, stride=_STEP)[0, 0]
    row, column = divmod(int(places.argmax()), places.shape[1])
    left, top = _STEP * column, _STEP * row
    return left, top, left + side, top + side


def _figures(scores: Scores | None) -> str:
    if scores is None:
        return ""
    decibel, distance = scores["psnr"], scores["stlpips-vgg"]
    text = "" if decibel is None else f"   {decibel:.2f} dB"
    return text if distance is None else f"{text}   ST-LPIPS {distance:.3f}"
