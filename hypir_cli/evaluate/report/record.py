"""An evaluation as plain data: what the JSON report holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

from hypir_cli.evaluate.bootstrap import Interval
from hypir_cli.evaluate.results import Evaluation

FORMAT = "hypir-eval/1"
"""Name and version of the JSON layout."""


def to_record(evaluation: Evaluation) -> dict[str, object]:
    """Everything about an evaluation, fit for JSON: what was not measured is null."""
    pairing = evaluation.pairing
    names = [info.id for info in evaluation.metrics if info.per_image]
    return {
        "format": FORMAT,
        **evaluation.provenance,
        "metrics": [
            {
                **asdict(info),
                "mean_of": "|log figure|" if info.better == "one" else "figure",
                "scored": evaluation.scored(info.id),
            }
            for info in evaluation.metrics
        ],
        "num_images": len(pairing.keys),
        "num_images_found": max(pairing.total, len(pairing.keys)),
        "summary": _intervals(evaluation.summary),
        "baseline": _baseline(evaluation),
        "differences_to": evaluation.methods[0],
        "differences": _intervals(evaluation.differences),
        "ranking": {metric: list(order) for metric, order in evaluation.ranks.items()},
        "speed": {method: asdict(speed) for method, speed in evaluation.speed.items()},
        "images": [
            {
                "name": key,
                "gt": _path(pairing.gt, key),
                "lq": _path(pairing.lq, key),
                "restored": {
                    method: {
                        "file": str(files[key]),
                        "figures": {
                            name: _number(evaluation.figures[method][name].get(key))
                            for name in names
                        },
                    }
                    for method, files in pairing.restored.items()
                },
            }
            for key in pairing.keys
        ],
        "problems": [asdict(problem) for problem in evaluation.problems],
    }


def _baseline(evaluation: Evaluation) -> dict[str, object] | None:
    """The inputs, which are in no ranking."""
    found = evaluation.baseline
    if found is None:
        return None
    return {
        "name": found.name,
        "summary": {metric: asdict(interval) for metric, interval in found.summary.items()},
        "figures": {
            metric: {key: _number(value) for key, value in row.items()}
            for metric, row in found.figures.items()
        },
    }


def _intervals(rows: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, object]]:
    return {
        method: {metric: asdict(interval) for metric, interval in row.items()}
        for method, row in rows.items()
    }


def _path(files: Mapping[str, object], key: str) -> str | None:
    return str(files[key]) if key in files else None


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
