"""Scratches, hairs and dust over photographs, and masks that say where: python draw_scratches.py PHOTOS SCRATCHED MASKS"""

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter


def damage(size: tuple[int, int], *, seed: str) -> Image.Image:
    """White on black: three scratches, two hairs, forty specks; always the same for the same seed."""
    draws, (width, height) = random.Random(seed), size
    drawn = Image.new("L", size)
    pen = ImageDraw.Draw(drawn)
    for kind in ("scratch",) * 3 + ("hair",) * 2:
        x, y, angle = draws.uniform(0, width), draws.uniform(0, height / 2), math.pi / 2
        for _ in range(height // 6 if kind == "scratch" else 24):
            angle += draws.gauss(0, 0.04 if kind == "scratch" else 0.3)
            end = (x + 5 * math.cos(angle), y + 5 * math.sin(angle))
            pen.line([(x, y), end], fill=255, width=draws.choice((2, 2, 3)))
            x, y = end
    for _ in range(40):
        x, y, radius = draws.uniform(0, width), draws.uniform(0, height), draws.uniform(1, 3)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return drawn


photos, scratched, masks = (Path(argument) for argument in sys.argv[1:])
for folder in (scratched, masks):
    folder.mkdir(parents=True, exist_ok=True)
for path in sorted(photos.glob("*.jpg")):
    photo = Image.open(path).convert("RGB")
    lost = damage(photo.size, seed=path.stem)
    bright = Image.merge("RGB", [lost] * 3)
    ImageChops.lighter(photo, bright).save(scratched / f"{path.stem}.png")
    lost.filter(ImageFilter.MaxFilter(3)).save(masks / f"{path.stem}.png")
