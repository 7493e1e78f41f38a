"""An evaluation as a table: numbers as text, marks of the best, CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hypir_cli.evaluate.bootstrap import Interval
from hypir_cli.evaluate.registry import MetricInfo
from hypir_cli.evaluate.results import Evaluation
from hypir_cli.evaluate.speed import Speed

Mark = Literal["best", "second", ""]
ARROWS = {"higher": "↑", "lower": "↓", "one": "→1"}
"""Which way is better, beside a metric's id."""
_MEANS = {"higher": "(mean)", "lower": "(mean)", "one": "(mean of |log|)"}
"""What a line of CSV with a mean is called."""


_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", "−": "$-$", "–": "--"},
}
"""Characters that LaTeX takes for something else."""


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


def mean_heading(info: MetricInfo) -> str:
    """What a column of means is called; ratios are averaged as |log ratio|."""
    return f"|log {info.id}| ↓" if info.better == "one" else heading(info)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of the table."""

    mean: str
    """Mean."""
    interval: str
    """Interval, or empty."""
    mark: Mark
    """Whether it is the best or second best of its column."""


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


def baseline_cells(evaluation: Evaluation) -> tuple[Cell, ...]:
    """The row of the inputs, in the order of the metrics; a dash where they have no figure. Never marked."""
    assert evaluation.baseline is not None
    summary = evaluation.baseline.summary
    return tuple(
        Cell(mean=number(found.mean), interval=interval_text(found), mark="")
        if (found := summary.get(info.id))
        else Cell(mean="–", interval="", mark="")
        for info in evaluation.metrics
    )


def baseline_label(evaluation: Evaluation) -> str:
    """What the row of the inputs is called."""
    assert evaluation.baseline is not None
    return f"{evaluation.baseline.name} (unranked)"


def coverage(evaluation: Evaluation) -> str:
    """How many images were scored of how many there are; metrics that have fewer, by name."""
    counts = {info.id: evaluation.scored(info.id) for info in evaluation.metrics}
    most = max(counts.values(), default=0)
    total = max(evaluation.pairing.total, len(evaluation.pairing.keys))
    fewer = [f"{name} {count}" for name, count in counts.items() if count < most]
    return f"{most} scored of {total} image{'' if total == 1 else 's'}" + (
        f" ({', '.join(fewer)})" if fewer else ""
    )


def interval_text(interval: Interval) -> str:
    """Both ends, or nothing for a figure of a whole set."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{number(interval.low)} to {number(interval.high)}"


def difference_verdict(interval: Interval, info: MetricInfo) -> str:
    """`better`, `worse` or `unclear`: whether the interval leaves zero out, and on which side.

    Differences of a ratio are those of |log ratio|, of which less is better.
    """
    if interval.low is None or interval.high is None:
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
    better = {info.id: info.better for info in evaluation.metrics}
    rows = dict(evaluation.summary)
    if evaluation.baseline is not None:
        rows[baseline_label(evaluation)] = evaluation.baseline.summary
    for method, row in rows.items():
        for metric, interval in row.items():
            if metric not in better:
                continue
            ends = ["" if end is None else end for end in (interval.low, interval.high)]
            label = _MEANS[better[metric]]
            writer.writerow([label, method, metric, interval.mean, *ends, protocol])
    return text.getvalue()


def to_markdown(evaluation: Evaluation) -> str:
    """The table of means, best in bold, second best underlined, with what makes the figures comparable."""
    columns = ["method", *(mean_heading(info) for info in evaluation.metrics)]
    columns = [column.replace("|", "\\|") for column in columns]
    if evaluation.speed:
        columns += ["s/image", "peak GB"]
    lines = [_row(columns), _row(["---"] + ["---:"] * (len(columns) - 1))]
    for method in evaluation.methods:
        cells = [_marked(cell(evaluation, method, info)) for info in evaluation.metrics]
        if evaluation.speed:
            cells += speed_cells(evaluation.speed.get(method))
        lines.append(_row([method.replace("|", "\\|"), *cells]))
    if evaluation.baseline is not None:
        cells = [_marked(item) for item in baseline_cells(evaluation)]
        cells += ["–", "–"] if evaluation.speed else []
        lines.append(_row([baseline_label(evaluation).replace("|", "\\|"), *cells]))
    lines += ["", conditions(evaluation)]
    lines += [f"- {problem.what}" for problem in evaluation.problems]
    return "\n".join(lines) + "\n"


def to_latex(evaluation: Evaluation) -> str:
    """The table of means for a paper (package booktabs): best in bold, second best underlined, the inputs under a line."""
    heads = ["Method", *(_latex_heading(info) for info in evaluation.metrics)]
    rows = [
        [
            latex_text(method),
            *(_latex_cell(cell(evaluation, method, info)) for info in evaluation.metrics),
        ]
        for method in evaluation.methods
    ]
    below = []
    if evaluation.baseline is not None:
        below = [
            [latex_text(evaluation.baseline.name), *map(_latex_cell, baseline_cells(evaluation))]
        ]
    return latex_table(heads, rows, below, note=conditions(evaluation))


def latex_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    below: Sequence[Sequence[str]] = (),
    *,
    note: str,
) -> str:
    """A table of LaTeX; all cells are LaTeX already.

    Args:
        heads: Head of each column; the first is set to the left, the others to the right.
        rows: Its rows.
        below: Rows under another line.
        note: A comment before the table.
    """
    lines = [f"% {note}", f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", "\\toprule"]
    lines += [_latex_row(heads), "\\midrule", *map(_latex_row, rows)]
    lines += ["\\midrule", *map(_latex_row, below)] if below else []
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def latex_text(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_heading(info: MetricInfo) -> str:
    if info.better == "one":
        return rf"$|\log|$ {latex_text(info.id)} $\downarrow$"
    arrow = r"$\uparrow$" if info.better == "higher" else r"$\downarrow$"
    return f"{latex_text(info.id)} {arrow}"


def _latex_cell(figure: Cell) -> str:
    mean = latex_text(figure.mean)
    return {"best": rf"\textbf{{{mean}}}", "second": rf"\underline{{{mean}}}", "": mean}[
        figure.mark
    ]


def conditions(evaluation: Evaluation) -> str:
    """One line on what the figures depend on: number of images, protocol, colour space, border, versions, commit."""
    facts = evaluation.provenance
    settings = facts["settings"]
    assert isinstance(settings, dict)
    measure, bootstrap = settings["measure"], settings["bootstrap"]
    providers = sorted({info.provider for info in evaluation.metrics})
    origin = f", commit {str(facts['commit'])[:12]}" if facts["commit"] else ""
    return (
        f"{coverage(evaluation)}; protocol {facts['protocol']}; psnr and ssim on "
        f"{measure['color_space']}, border {measure['crop_border']} px, resize {measure['resize']}; intervals: "
        f"{bootstrap['confidence']:.0%} bootstrap, {bootstrap['resamples']} resamples, seed {bootstrap['seed']}; "
        f"{', '.join(providers)}{origin}"
    )


def _marked(figure: Cell) -> str:
    mean = {"best": f"**{figure.mean}**", "second": f"<u>{figure.mean}</u>", "": figure.mean}
    return mean[figure.mark] + (f" ({figure.interval})" if figure.interval else "")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
