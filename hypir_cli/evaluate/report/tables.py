"""An evaluation as a table: numbers as text, marks of the best, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Literal

from hypir_cli.evaluate.bootstrap import Interval
from hypir_cli.evaluate.registry import MetricInfo
from hypir_cli.evaluate.results import Evaluation
from hypir_cli.evaluate.speed import Speed

Mark = Literal["best", "second", ""]
ARROWS = {"higher": "↑", "lower": "↓", "one": "→1"}
"""Which way is better, beside a metric's id."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of the table."""

    mean: str
    """Mean."""
    interval: str
    """Interval, or empty."""
    mark: Mark
    """Whether it is the best or second best of its column."""


def number(value: float) -> str:
    """As many decimals as papers print: 22.16, 3.832, 0.5877; the minus sign is a real one."""
    magnitude = abs(value)
    decimals = 4 if magnitude < 1 else 3 if magnitude < 10 else 2 if magnitude < 1000 else 0
    return f"{value:.{decimals}f}".replace("-", "−")


def signed(value: float) -> str:
    """The same with its sign in front."""
    return f"+{number(value)}" if value >= 0 else number(value)


def heading(info: MetricInfo) -> str:
    """A metric's exact id and its arrow."""
    return f"{info.id} {ARROWS[info.better]}"


def cell(evaluation: Evaluation, method: str, info: MetricInfo) -> Cell:
    """One figure with its interval and mark; marks need something to compare."""
    interval = evaluation.summary[method][info.id]
    order = evaluation.ranks[info.id]
    place = order.index(method)
    mark: Mark = ""
    if len(order) > 1 and place == 0:
        mark = "best"
    elif len(order) > 2 and place == 1:
        mark = "second"
    return Cell(mean=number(interval.mean), interval=interval_text(interval), mark=mark)


def interval_text(interval: Interval) -> str:
    """Both ends, or nothing for a figure of a whole set."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{number(interval.low)} to {number(interval.high)}"


def difference_verdict(interval: Interval, info: MetricInfo) -> str:
    """`better`, `worse` or `unclear`: whether the interval leaves zero out, and on which side.

    Differences of a ratio have no better side.
    """
    if interval.low is None or interval.high is None or info.better == "one":
        return "unclear"
    if interval.low > 0:
        return "better" if info.better == "higher" else "worse"
    if interval.high < 0:
        return "worse" if info.better == "higher" else "better"
    return "unclear"


def speed_cells(speed: Speed | None) -> tuple[str, str]:
    """Seconds of computing per image, and peak memory in GB."""
    if speed is None:
        return "–", "–"
    peak = speed.peak_memory_bytes
    return number(speed.compute_seconds), "–" if peak is None else f"{peak / 1e9:.2f}"


def to_csv(evaluation: Evaluation) -> str:
    """One line per image, method and metric, then the means: easy to read back into any program."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "method", "metric", "value", "low", "high", "protocol"])
    protocol = evaluation.provenance["protocol"]
    for key in evaluation.pairing.keys:
        for method, columns in evaluation.figures.items():
            for metric, values in columns.items():
                if key in values:
                    writer.writerow([key, method, metric, values[key], "", "", protocol])
    for method, row in evaluation.summary.items():
        for metric, interval in row.items():
            ends = ["" if end is None else end for end in (interval.low, interval.high)]
            writer.writerow(["(mean)", method, metric, interval.mean, *ends, protocol])
    return text.getvalue()


def to_markdown(evaluation: Evaluation) -> str:
    """The table of means, best in bold, second best underlined, with what makes the figures comparable."""
    columns = ["method", *(heading(info) for info in evaluation.metrics)]
    if evaluation.speed:
        columns += ["s/image", "peak GB"]
    lines = [_row(columns), _row(["---"] + ["---:"] * (len(columns) - 1))]
    for method in evaluation.methods:
        cells = [_marked(cell(evaluation, method, info)) for info in evaluation.metrics]
        if evaluation.speed:
            cells += speed_cells(evaluation.speed.get(method))
        lines.append(_row([method.replace("|", "\\|"), *cells]))
    lines += ["", conditions(evaluation)]
    lines += [f"- {problem.what}" for problem in evaluation.problems]
    return "\n".join(lines) + "\n"


def conditions(evaluation: Evaluation) -> str:
    """One line on what the figures depend on: number of images, protocol, colour space, border, versions, commit."""
    facts = evaluation.provenance
    settings = facts["settings"]
    assert isinstance(settings, dict)
    measure, bootstrap = settings["measure"], settings["bootstrap"]
    providers = sorted({info.provider for info in evaluation.metrics})
    origin = f", commit {str(facts['commit'])[:12]}" if facts["commit"] else ""
    return (
        f"{len(evaluation.pairing.keys)} images; protocol {facts['protocol']}; psnr and ssim on "
        f"{measure['color_space']}, border {measure['crop_border']} px, resize {measure['resize']}; intervals: "
        f"{bootstrap['confidence']:.0%} bootstrap, {bootstrap['resamples']} resamples, seed {bootstrap['seed']}; "
        f"{', '.join(providers)}{origin}"
    )


def _marked(figure: Cell) -> str:
    mean = {"best": f"**{figure.mean}**", "second": f"<u>{figure.mean}</u>", "": figure.mean}
    return mean[figure.mark] + (f" ({figure.interval})" if figure.interval else "")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
