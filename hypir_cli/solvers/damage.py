"""From settings to an operator: what the user knows about the damage, for an image of a given size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hypir_cli.config.solve import DamageConfig
from hypir_cli.errors import ConfigError
from hypir_cli.folder.copies import local_file
from hypir_cli.solvers.kernel_file import read_kernel
from hypir_cli.solvers.masks import kept_of
from hypir_cli.solvers.operators import (
    Blur,
    Downsampling,
    Grey,
    Inpainting,
    Jpeg,
    Operator,
    box_kept,
    kernels,
    random_kept,
)

Size = tuple[int, int]
"""(height, width) in pixels."""


class Damage:
    """Makes operators; what does not depend on an image is read once.

    Args:
        config: What is known.

    Raises:
        HypirError: A setting that the task needs is missing, or the kernel file cannot be used.
    """

    def __init__(self, config: DamageConfig) -> None:
        self.config = config
        self._fixed = self._independent_of_size()
        if self._fixed is None and config.drop is None and config.box is None:
            require_mask(config)

    @property
    def needs_size(self) -> bool:
        """Whether the operator depends on the image's size."""
        return self._fixed is None

    @property
    def factor(self) -> int:
        """Side of the result / side of the measured picture."""
        return self.config.result_factor

    def operator(self, size: Size, *, lost: NDArray[np.bool_] | None = None) -> Operator:
        """The operator on images of that size.

        Args:
            size: Of the image that is looked for.
            lost: (height, width) of `size`, where a mask file says so.
        """
        if self._fixed is not None:
            return self._fixed
        if lost is not None:
            return Inpainting(kept_of(lost))
        if self.config.drop is not None:
            return Inpainting(random_kept(*size, dropped=self.config.drop, seed=self.config.seed))
        assert self.config.box is not None
        return Inpainting(box_kept(*size, side=self.config.box))

    def describe(self) -> str:
        """The damage in words."""
        config = self.config
        words = {
            "super-resolution": f"bicubic shrinking by {config.factor}",
            "gaussian-blur": f"gaussian blur, sigma {config.sigma:g} px, {config.kernel_size} px wide",
            "motion-blur": self._motion(),
            "kernel": f"blur by {config.kernel}",
            "inpaint": self._lost(),
            "colorize": "lost colour",
            "jpeg": f"JPEG at quality {config.jpeg_quality}",
        }
        return words[config.task]

    def _motion(self) -> str:
        config = self.config
        if config.length is not None:
            return f"straight motion of {config.length:g} px at {config.angle:g} degrees"
        return f"shaken hand, intensity {config.intensity:g}, {config.kernel_size} px, seed {config.seed}"

    def _lost(self) -> str:
        config = self.config
        if config.mask is not None:
            return f"pixels lost where {config.mask} is white"
        if config.drop is not None:
            return f"{config.drop:.0%} of the pixels lost at random, seed {config.seed}"
        return f"a centred square of {config.box} px lost"

    def _independent_of_size(self) -> Operator | None:
        config = self.config
        if config.task == "super-resolution":
            return Downsampling(config.factor)
        if config.task == "colorize":
            return Grey()
        if config.task == "jpeg":
            return Jpeg(config.jpeg_quality)
        if config.task == "inpaint":
            return None
        return self._blur()

    def _blur(self) -> Blur:
        config = self.config
        if config.task == "gaussian-blur":
            return Blur(kernels.gaussian(size=config.kernel_size, sigma=config.sigma))
        if config.task == "kernel":
            if config.kernel is None:
                raise ConfigError(
                    "the task kernel needs a point-spread function.",
                    hint="give it with --kernel FILE (PNG, TIFF or .npy)",
                )
            with local_file(config.kernel) as path:
                return Blur(read_kernel(path))
        if config.length is not None:
            return Blur(kernels.line(length=config.length, angle=config.angle))
        return Blur(
            kernels.random_walk(
                size=config.kernel_size, intensity=config.intensity, seed=config.seed
            )
        )


def require_mask(config: DamageConfig) -> None:
    """Refuse inpainting without a place.

    Raises:
        ConfigError: Nothing says where the photographs are lost.
    """
    if config.mask is None:
        raise ConfigError(
            "the task inpaint needs to know where the photographs are lost.",
            hint="give --mask FILE_OR_FOLDER (white where lost), --drop SHARE or --box PX",
        )
