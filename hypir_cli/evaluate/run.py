"""Measure folders of restored images against their partners: the whole of `hypir eval` but for the printing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from hypir_cli.config.evaluate import EvaluateConfig
from hypir_cli.errors import ConfigError, HypirError, InputError, as_hypir_error
from hypir_cli.evaluate import registry, results
from hypir_cli.evaluate.bootstrap import Interval
from hypir_cli.evaluate.pairing import Pairing, Problem, pair, read_rgb
from hypir_cli.evaluate.prepare import Prepared, prepare, resized
from hypir_cli.evaluate.provenance import provenance
from hypir_cli.evaluate.registry import Metric, MetricInfo
from hypir_cli.evaluate.results import Evaluation, Figures
from hypir_cli.evaluate.speed import Speed, read_speed
from hypir_cli.folder.events import Progress, silent
from hypir_cli.models.device import pick_device

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Folders:
    """What is to be measured."""

    methods: Mapping[str, Path]
    """Name -> restored folder; the first is what the others are compared with."""
    gt: Path | None = None
    """Clean images."""
    lq: Path | None = None
    """Inputs of the restoration."""
    restore_reports: Mapping[str, Path] | None = None
    """Name -> report of its restoration, for the speed rows."""


def evaluate(
    folders: Folders, config: EvaluateConfig, *, on_progress: Progress = silent
) -> Evaluation:
    """Measure every method on every image.

    What cannot be measured (a broken file, a missing partner, a metric without weights) is listed among the problems and
    the rest is measured.

    Raises:
        ConfigError: An unknown metric, or one whose partner folder was not given.
        InputError: A folder is missing or empty, or nothing could be measured.
    """
    infos, unknowable = _chosen(config, folders)
    speed = {name: read_speed(path) for name, path in (folders.restore_reports or {}).items()}
    unknown = sorted(set(speed) - set(folders.methods))
    if unknown:
        raise ConfigError(f"a restore report is given for {unknown[0]!r}, which is not compared.")
    methods, baseline = _without_inputs(folders)
    pairing = pair(methods, gt=folders.gt, lq=folders.lq)
    metrics, problems = _load(infos, config)
    problems = [*pairing.problems, *unknowable, *problems]
    measured = _measure(pairing, metrics, config, problems, on_progress)
    found = _conclude(pairing, metrics, measured, config, problems, speed=speed)
    inputs = measured.inputs
    return replace(found, baseline=_baseline(baseline, found, inputs, config)) if inputs else found


def _without_inputs(folders: Folders) -> tuple[dict[str, Path], str]:
    """The methods that are none of the inputs, and what the inputs are called: they win what compares with them."""
    methods = dict(folders.methods)
    if folders.lq is None:
        return methods, ""
    place = folders.lq.resolve()
    others = {name: path for name, path in methods.items() if path.resolve() != place}
    own = [name for name in methods if name not in others]
    if own and others:
        return others, own[0]
    return methods, next(name for name in ("input", "LQ input", "(input)") if name not in methods)


def _chosen(config: EvaluateConfig, folders: Folders) -> tuple[list[MetricInfo], list[Problem]]:
    """The metrics asked for; those that only a missing package could tell of are problems, not the end."""
    given = {"gt": folders.gt is not None, "lq": folders.lq is not None, "": True}
    names = config.metrics or registry.default_metrics(gt=given["gt"], lq=given["lq"])
    infos: list[MetricInfo] = []
    problems: list[Problem] = []
    for name in names:
        try:
            info = registry.find_metric(name)
        except ConfigError:
            raise
        except HypirError as error:
            problems.append(Problem(what=error.message, hint=error.hint))
            continue
        if not given[info.needs]:
            raise ConfigError(
                f"metric {info.id} compares with {info.needs.upper()}, which was not given.",
                hint=f"add --{info.needs} FOLDER, or leave {info.id} out of --metrics",
            )
        infos.append(info)
    if not infos:
        raise HypirError(problems[0].what, hint=problems[0].hint)
    return infos, problems


def _load(
    infos: Sequence[MetricInfo], config: EvaluateConfig
) -> tuple[list[Metric], list[Problem]]:
    metrics: list[Metric] = []
    problems: list[Problem] = []
    device = _device(config.device)
    for info in infos:
        try:
            metrics.append(
                registry.load_metric(info, config.measure, device=device, timeout=config.timeout)
            )
        except HypirError as error:
            problems.append(Problem(what=error.message, hint=error.hint))
    if not metrics:
        raise HypirError(
            f"no metric could be made; the first: {problems[0].what}", hint=problems[0].hint
        )
    return metrics, problems


def _device(name: str) -> torch.device:
    """Where metrics run; `auto` leaves MPS out, which lacks the float64 that scores are summed in."""
    device = pick_device(name)
    return torch.device("cpu") if name == "auto" and device.type == "mps" else device


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What came of going through the images."""

    figures: Figures
    """Of the methods."""
    inputs: dict[str, dict[str, float]]
    """Of the inputs where those are given: metric -> image -> figure."""
    usable: tuple[str, ...]
    """Images whose every file could be read and compared: what metrics of whole sets take."""


def _measure(
    pairing: Pairing,
    metrics: Sequence[Metric],
    config: EvaluateConfig,
    problems: list[Problem],
    on_progress: Progress,
) -> _Measured:
    figures: Figures = {
        method: {metric.info.id: {} for metric in metrics} for method in pairing.restored
    }
    inputs: dict[str, dict[str, float]] = {}
    usable: list[str] = []
    for done, key in enumerate(pairing.keys):
        on_progress(done, len(pairing.keys))
        try:
            gt, lq = _read(pairing.gt, key), _read(pairing.lq, key)
        except Exception as error:  # noqa: BLE001 - one image never stops the rest
            problems.append(_problem(error, subject=f"the references of {key}"))
            continue
        shape, complete = None, True
        for method, files in pairing.restored.items():
            try:
                sample = prepare(read_rgb(files[key]), gt=gt, lq=lq, measure=config.measure)
            except Exception as error:  # noqa: BLE001 - one image never stops the rest
                problems.append(_problem(error, subject=str(files[key])))
                complete = False
                continue
            shape = shape or sample.restored_whole.shape
            for metric in metrics:
                value = _score(metric, sample, files[key], problems)
                if value is not None:
                    figures[method][metric.info.id][key] = value
        usable += [key] if complete else []
        if lq is not None and shape is not None:
            for name, value in _input_figures(lq, shape, gt, metrics, config).items():
                inputs.setdefault(name, {})[key] = value
    on_progress(len(pairing.keys), len(pairing.keys))
    return _Measured(figures=figures, inputs=inputs, usable=tuple(usable))


def _input_figures(
    lq: Tensor,
    shape: torch.Size,
    gt: Tensor | None,
    metrics: Sequence[Metric],
    config: EvaluateConfig,
) -> dict[str, float]:
    """Metric -> figure of an input, enlarged to the restored size; what has none is left out, since nothing hangs on it."""
    enlarged = resized(lq, height=shape[-2], width=shape[-1])
    found: dict[str, float] = {}
    try:
        sample = prepare(enlarged, gt=gt, lq=None, measure=config.measure)
    except InputError:
        return found
    for metric in metrics:
        if metric.score is None or metric.info.needs == "lq":
            continue
        value = _score(metric, sample, Path("input"), [])
        if value is not None:
            found[metric.info.id] = value
    return found


def _baseline(
    name: str,
    found: Evaluation,
    inputs: dict[str, dict[str, float]],
    config: EvaluateConfig,
) -> results.Baseline:
    better = {info.id: info.better for info in found.metrics}
    known = {metric: row for metric, row in inputs.items() if metric in better}
    summary = results.baseline_summary(
        results.comparable({name: known}, better)[name],
        found.figures,
        found.pairing.keys,
        config.bootstrap,
    )
    return results.Baseline(name=name, figures=known, summary=summary)


def _read(files: Mapping[str, Path], key: str) -> Tensor | None:
    return read_rgb(files[key]) if files else None


def _problem(error: Exception, *, subject: str) -> Problem:
    """What one image's error means for the report."""
    logger.debug("%s cannot be measured", subject, exc_info=error)
    known = as_hypir_error(error, subject=subject)
    named = subject in known.message or not isinstance(error, HypirError)
    return Problem(what=known.message if named else f"{subject}: {known.message}", hint=known.hint)


def _score(metric: Metric, sample: Prepared, path: Path, problems: list[Problem]) -> float | None:
    """The figure, or None with a problem added. pyiqa's networks refuse images by assertions and runtime errors."""
    if metric.score is None:
        return None
    restored, partner = sample.inputs(metric.info)
    try:
        value = metric.score(restored, partner)
    except Exception as error:
        logger.debug("%s failed on %s", metric.info.id, path, exc_info=error)
        text = str(error) or type(error).__name__
        problems.append(Problem(what=f"{path}: metric {metric.info.id}: {text}."))
        return None
    if value != value:
        problems.append(Problem(what=f"{path}: metric {metric.info.id} gave no number."))
        return None
    return value


def _conclude(
    pairing: Pairing,
    metrics: Sequence[Metric],
    measured: _Measured,
    config: EvaluateConfig,
    problems: list[Problem],
    *,
    speed: Mapping[str, Speed],
) -> Evaluation:
    names = [metric.info.id for metric in metrics if metric.info.per_image]
    figures = measured.figures
    even = results.comparable(figures, {metric.info.id: metric.info.better for metric in metrics})
    summary = results.summarise(even, names, pairing.keys, config.bootstrap)
    for metric in metrics:
        if metric.score_set is not None:
            _add_set_figures(metric, pairing, measured.usable, summary, problems)
    if not any(summary.values()):
        first = problems[0] if problems else Problem(what="no figure came out")
        raise InputError(f"nothing could be measured; the first: {first.what}", hint=first.hint)
    infos = tuple(
        metric.info for metric in metrics if all(metric.info.id in row for row in summary.values())
    )
    return Evaluation(
        metrics=infos,
        pairing=pairing,
        figures=figures,
        summary=summary,
        differences=results.differences(even, names, pairing.keys, config.bootstrap),
        ranks={
            info.id: results.ranking(
                {method: row[info.id].mean for method, row in summary.items()}, info.better
            )
            for info in infos
        },
        speed=speed,
        problems=tuple(problems),
        provenance=provenance(config),
    )


def _add_set_figures(
    metric: Metric,
    pairing: Pairing,
    keys: Sequence[str],
    summary: dict[str, dict[str, Interval]],
    problems: list[Problem],
) -> None:
    assert metric.score_set is not None
    gt = [pairing.gt[key] for key in keys] if pairing.gt else []
    for method, files in pairing.restored.items():
        try:
            value = metric.score_set([files[key] for key in keys], gt)
        except Exception as error:
            logger.debug("%s failed on %s", metric.info.id, method, exc_info=error)
            text = str(error) or type(error).__name__
            problems.append(Problem(what=f"metric {metric.info.id} on {method}: {text}."))
            continue
        interval = Interval(mean=value, low=None, high=None, count=len(keys))
        summary[method] = {**summary[method], metric.info.id: interval}
