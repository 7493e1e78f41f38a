"""Training samples: crops of photographs with prompts, each a pure function of the seed, its number and the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hypir_cli.config.data import DataConfig
from hypir_cli.errors import HypirError, InputError
from hypir_cli.pixels.texture import pixels_richness
from hypir_cli.train.data.keys import SampleKey
from hypir_cli.train.data.order import EpochOrder
from hypir_cli.train.data.photos import (
    Photo,
    PhotoCache,
    match_partner,
    read_photo,
    scale_short_side,
)
from hypir_cli.train.data.sources import Blob, Item, find_items, read_prompt

BadFile = tuple[str, str]
"""Name and reason of a file that could not be used."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One crop."""

    image: Tensor
    """uint8 (3, crop, crop), RGB."""
    prompt: str
    """Its prompt; empty when it was dropped."""
    name: str
    """The file it comes from."""
    key: SampleKey
    """What its random draws follow from; the degradation's too."""
    degraded: Tensor | None = None
    """The same crop of the degraded partner, where there is one already."""
    skipped: tuple[BadFile, ...] = ()
    """Broken files that would have stood in its place."""


class TrainingSet(Dataset[Sample | HypirError]):
    """Every sample of a run, by number.

    Raises on construction:
        InputError: A source cannot be read, or there are no photographs.
        ConfigError: A source is of an unknown kind.
    """

    def __init__(self, config: DataConfig, *, seed: int) -> None:
        self.config = config
        self.seed = seed
        groups = find_items(config.sources, degraded=config.degraded)
        self._items = [item for group in groups for item in group]
        self._order = EpochOrder(
            [len(group) for group in groups],
            seed=seed,
            shuffle=config.shuffle,
            pool_size=config.pool_size,
        )
        self._cache = PhotoCache(config.cache_megabytes * 10**6)

    def __len__(self) -> int:
        """Number of photographs, which is one epoch; sample numbers go on beyond it."""
        return len(self._items)

    def sample(self, index: int) -> Sample:
        """Sample number `index`, at least 0. A broken file gives its place to the next one of the epoch.

        Raises:
            InputError: Every file is broken.
        """
        skipped: list[BadFile] = []
        for skip in range(len(self._items)):
            item = self._items[self._order.item(index, skip=skip)]
            try:
                return self._crop(item, index=index, skipped=skipped)
            except InputError as error:
                skipped.append((item.image.name, error.message))
        raise InputError(
            f"none of the {len(self._items)} training files can be read; the last: {skipped[-1][1]}",
            hint="check data.sources",
        )

    def __getitem__(self, index: int) -> Sample | HypirError:
        """`sample`, with an error returned instead of raised: a worker's traceback would bury its message."""
        try:
            return self.sample(index)
        except HypirError as error:
            return error

    def _crop(self, item: Item, *, index: int, skipped: Sequence[BadFile]) -> Sample:
        config = self.config
        key = SampleKey(self.seed, 0, index)
        drop, flip, x, y = key.generator("crop").random(4)
        prompt = read_prompt(item, default=config.prompt)
        photo = self._cache.get(item, self._load)
        if config.crop == "center":
            crop = _square(photo, side=config.crop_size, x=0.5, y=0.5)
        else:
            crop = self._random_crop(photo, key, x=float(x), y=float(y))
        if flip < config.flip_probability:
            crop = crop[:, ::-1]
        images = torch.from_numpy(crop.transpose(2, 0, 1).copy())
        return Sample(
            image=images[:3],
            degraded=images[3:] if item.degraded is not None else None,
            prompt="" if drop < config.prompt_dropout else prompt,
            name=item.image.name,
            key=key,
            skipped=tuple(skipped),
        )

    def _random_crop(self, photo: Photo, key: SampleKey, *, x: float, y: float) -> Photo:
        """A crop at a scale of its own, the sharpest of as many places as are to be looked at; x and y are the first of them."""
        config = self.config
        side = config.crop_size
        if config.smallest_scale < 1.0 and not config.degraded:
            (place,) = key.generator("scale").random(1)
            scale = config.smallest_scale + (1.0 - config.smallest_scale) * float(place)
            side = min(round(side / scale), *photo.shape[:2])
        further = key.generator("sharpest").random((config.sharpest_of - 1, 2))
        places = [(x, y), *((float(across), float(down)) for across, down in further)]
        crops = [_square(photo, side=side, x=across, y=down) for across, down in places]
        if side > config.crop_size:
            crops = [scale_short_side(crop, short_side=config.crop_size) for crop in crops]
        if len(crops) == 1:
            return crops[0]
        # The photograph is the first three channels; its partner, if there is one, the others.
        return max(crops, key=lambda crop: pixels_richness(crop[..., :3]))

    def _load(self, item: Item) -> Photo:
        """The photograph, at least `crop_size` on both sides; (H, W, 6) with its partner in the last three channels."""
        if item.degraded is None:
            return self._fitted(self._read(item.image, shrink=True))
        photo, degraded = (self._read(blob, shrink=False) for blob in (item.image, item.degraded))
        degraded = match_partner(degraded, photo, name=item.degraded.name)
        return np.concatenate([self._fitted(photo), self._fitted(degraded)], axis=2)

    def _read(self, blob: Blob, *, shrink: bool) -> Photo:
        """The pixels; a file that is to be shrunk anyway is decoded at a fraction."""
        shrink = shrink and self.config.resize == "short-side"
        path = None if blob.member or isinstance(blob.path, str) else blob.path
        return read_photo(
            path or blob.read(),
            name=blob.name,
            short_side=self.config.crop_size if shrink else None,
        )

    def _fitted(self, photo: Photo) -> Photo:
        side = self.config.crop_size
        height, width, _ = photo.shape
        if self.config.resize == "short-side" and min(height, width) > side:
            return scale_short_side(photo, short_side=side)
        if min(height, width) >= side:
            return photo
        if self.config.small == "enlarge":
            return scale_short_side(photo, short_side=side)
        margins = ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0))
        return np.pad(photo, margins, mode="reflect")


def _square(photo: Photo, *, side: int, x: float, y: float) -> Photo:
    """The crop whose corner lies at the shares x and y, in 0..1, of the room there is."""
    height, width, _ = photo.shape
    top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
    return photo[top : top + side, left : left + side]
