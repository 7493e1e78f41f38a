"""Settings of the training data: where the photographs are, and how crops are taken from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hypir_cli.config.checks import check_probability, check_within


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Photographs with prompts, and the crops that training sees."""

    sources: tuple[str, ...] = ()
    """Folders (searched to the bottom), .parquet or .jsonl tables (columns image_path, prompt), .tar shards, or globs;
    URLs (s3://...) of any of them are read over the network, sample by sample."""
    degraded: tuple[str, ...] = ()
    """Folders with degraded partners of the photographs, one for each folder in `sources`, the same relative paths inside (the suffix
    may differ); of equal size or a part of it. Empty: partners are made, as `degradation` says."""
    prompt: str = ""
    """Prompt of the photographs that have none of their own."""
    prompt_dropout: float = 0.0
    """Chance that a sample's prompt is replaced by the empty one."""
    crop_size: int = 512
    """Side of the square crop in pixels."""
    resize: Literal["none", "short-side"] = "none"
    """`short-side` first shrinks the photograph so that its shorter side is `crop_size`; `none` crops at full size."""
    crop: Literal["random", "center"] = "random"
    """Where the crop is taken."""
    sharpest_of: int = 1
    """Random places looked at for each crop, of which the one with the most detail is taken: small crops of large photographs
    are mostly sky and blur."""
    smallest_scale: float = 1.0
    """Random crops show the photograph at a scale drawn from this to 1, above 0; what is shrunk is sharper and shows more. Without
    effect beside `resize: short-side`, which shows the whole, and on photographs with degraded partners, whose damage would
    shrink too."""
    small: Literal["reflect", "enlarge"] = "reflect"
    """A photograph below `crop_size` is extended by its mirror image (stays sharp), or enlarged (Lanczos)."""
    flip_probability: float = 0.5
    """Chance of mirroring a crop left to right."""
    shuffle: bool = True
    """Every epoch in a new order; else the stored order, over and over."""
    pool_size: int = 0
    """0 shuffles whole epochs. Otherwise sources (shards) are read in a random order, each nearly from front to back, and
    shuffled within windows of this many samples; a multiple of the samples that all ranks take per step."""
    workers: int = 0
    """Processes that read ahead; 0 reads in the training process."""
    cache_megabytes: int = 0
    """Memory (MB, per reading process) that keeps decoded photographs; saves decoding a small set again and again."""
    reuse: int = 1
    """How often a degraded pair is shown, turned and mirrored anew, before another takes its place. Degrading on a CPU takes
    longer than a step of a small model. Above 1, every process has a pool of its own, so results depend on how many there are."""
    reuse_pool: int = 256
    """Pairs that wait to be shown again, per process; without effect while reuse is 1."""

    def __post_init__(self) -> None:
        check_probability("prompt_dropout", self.prompt_dropout)
        check_probability("flip_probability", self.flip_probability)
        check_within(self, "", ("crop_size",), least=1)
        check_within(self, "", ("pool_size", "workers", "cache_megabytes"), least=0)
        if not 0.0 < self.smallest_scale <= 1.0:
            raise ValueError(
                f"smallest_scale must be above 0, at most 1, got {self.smallest_scale}"
            )
        check_within(self, "", ("reuse", "reuse_pool", "sharpest_of"), least=1)
        if self.degraded and len(self.degraded) != len(self.sources):
            raise ValueError(
                f"data.degraded names {len(self.degraded)} folders, data.sources {len(self.sources)}"
            )
        if self.pool_size and not self.shuffle:
            raise ValueError("pool_size shuffles, so it needs shuffle: true")
