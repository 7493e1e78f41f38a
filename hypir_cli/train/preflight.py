"""Everything that a training run needs is looked for before it starts, and all that is missing is said at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import util
from pathlib import Path

from hypir_cli.config.families import find_family
from hypir_cli.config.train import RunConfig, TrainGanConfig
from hypir_cli.errors import CheckpointError, ConfigError, HypirError, InputError
from hypir_cli.models.hub import check_base
from hypir_cli.models.perceptual.needs import check_distance, check_trunk
from hypir_cli.models.placement import require_package
from hypir_cli.train.data.sources import check_sources
from hypir_cli.train.networks.realesrgan import package_file

Check = Callable[[], object]


def check_needs(config: RunConfig) -> None:
    """Look for data, weights and packages; nothing is loaded or downloaded.

    Raises:
        HypirError: What is missing; a list where it is more than one thing.
    """
    missing: list[HypirError] = []
    for check in _checks(config):
        try:
            check()
        except HypirError as error:
            missing.append(error)
    if len(missing) == 1:
        raise missing[0]
    if missing:
        lines = [
            f"- {error.message}{f' ({error.hint})' if error.hint else ''}" for error in missing
        ]
        raise ConfigError("\n".join([f"this run lacks {len(missing)} things:", *lines]))


def _checks(config: RunConfig) -> Iterator[Check]:
    yield lambda: _check_data(config.data.sources)
    for sources in (config.validation.sources, config.validation.degraded, config.data.degraded):
        yield partial(check_sources, sources)
    model = config.model
    family = find_family(model.backbone)
    yield lambda: check_base(
        model.base, name=model.backbone, preset=family.preset, revision=model.revision
    )
    if model.encoder is not None:
        yield _file(model.encoder, "model.encoder")
    if config.validation.sources:
        yield lambda: check_distance(config.validation.perceptual_kind)
    if config.logging.tensorboard:
        yield lambda: _check_tracker("tensorboard", "logging.tensorboard: false")
    if isinstance(config, TrainGanConfig):
        yield from _gan_checks(config)


def _gan_checks(config: TrainGanConfig) -> Iterator[Check]:
    if config.loss.adversarial > 0:
        yield lambda: check_trunk(config.discriminator.trunk)
    if config.loss.perceptual > 0:
        yield lambda: check_distance(config.loss.perceptual_kind)
    if config.lora.start is not None:
        yield _file(config.lora.start, "lora.start")
    if config.lora.quantize_base != "none":
        yield lambda: require_package(config.lora.quantize_base)
    if config.teacher.name != "none":
        weights = config.teacher.weights
        yield package_file if weights is None else _file(weights, "teacher.weights")


def _check_data(sources: tuple[str, ...]) -> None:
    if not sources:
        raise InputError(
            "there are no photographs in the training sources: (none given).",
            hint="data.sources takes folders, .parquet or .jsonl tables and .tar shards",
        )
    check_sources(sources)


def _check_tracker(package: str, without: str) -> None:
    if util.find_spec(package) is None:
        raise InputError(
            f"the package {package} is not installed.",
            hint=f"pip install 'hypir[train]', or set {without}",
        )


def _file(path: Path, setting: str) -> Check:
    def check() -> None:
        if not path.is_file():
            raise CheckpointError(f"there is no file {path}.", hint=f"check {setting}")

    return check
