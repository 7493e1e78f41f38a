"""What a command does to each image of a list, and what the list needs to know of the command's settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hypir_cli.config.restore import OutputConfig
from hypir_cli.config.scale import ClusterConfig
from hypir_cli.folder.jobs import Job, make_jobs
from hypir_cli.folder.pipeline import RestoreOne
from hypir_cli.folder.report import FolderReport
from hypir_cli.folder.run import run_folder
from hypir_cli.folder.scan import Findings, find_images
from hypir_cli.images import Reading


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """A command's settings as far as finding, reading, naming and writing go."""

    output: OutputConfig
    """Files written."""
    num_jobs: int
    """Threads for reading, and as many for writing."""
    samples: int = 1
    """Results per image."""
    lossless: bool = False
    """Where `same` would write a format that loses something, write PNG."""
    reading: Reading = field(default_factory=Reading)
    """How files are read."""
    sidecars: bool = False
    """Whether the text file beside an image is needed."""
    output_size: Callable[[int, int], tuple[int, int]] = lambda height, width: (height, width)
    """(height, width) of a result for that of an input."""
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    """Who works through a manifest."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """All settings, for the report."""

    def find_jobs(
        self, inputs: Sequence[str | Path], output: str | Path
    ) -> tuple[Findings, list[Job]]:
        """What the inputs mean, and where the results of the images among it go.

        Raises:
            HypirError: Nothing found, or an output that does not fit.
        """
        found = find_images(inputs, exclude=Path(output))
        jobs = make_jobs(
            inputs,
            output,
            found=found.images,
            format=self.output.format,
            suffix=self.output.suffix,
            num_samples=self.samples,
            lossless=self.lossless,
            output_size=self.output_size,
        )
        return found, jobs

    def run(self, jobs: Sequence[Job]) -> Callable[..., FolderReport]:
        """`run_folder` on these jobs with everything set that follows from the settings."""
        return partial(
            run_folder,
            jobs,
            existing=self.output.existing,
            quality=self.output.quality,
            keep_metadata=self.output.metadata == "keep",
            compare=self.output.compare == "side",
            num_jobs=self.num_jobs,
            reading=self.reading,
            settings=self.report,
            output_pixels=self.result_pixels,
        )

    def result_pixels(self, height: int, width: int) -> int:
        """Pixels of all results of an image of that size."""
        out_height, out_width = self.output_size(height, width)
        return out_height * out_width * self.samples


class ImageWorker(ABC):
    """Restores, or solves, single images with a model that is loaded when the first image needs it."""

    @property
    @abstractmethod
    def settings(self) -> RunSettings:
        """What a run needs to know."""

    @abstractmethod
    def load(self) -> RestoreOne:
        """What is done to an image; the model is loaded when this returns, once.

        Raises:
            HypirError: A model cannot be loaded.
        """

    @abstractmethod
    def elsewhere(self) -> Callable[[], ImageWorker]:
        """Makes this worker anew in another process, where nobody listens; can be pickled."""
