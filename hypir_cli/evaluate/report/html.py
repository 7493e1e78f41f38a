"""The evaluation as a page: table, differences, plots, and every image in all its versions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Literal

from hypir_cli.errors import InputError
from hypir_cli.evaluate.registry import MetricInfo
from hypir_cli.evaluate.report.plots import COLORS, strip_plot
from hypir_cli.evaluate.report.tables import (
    baseline_cells,
    baseline_label,
    cell,
    conditions,
    coverage,
    difference_verdict,
    heading,
    interval_text,
    mean_heading,
    number,
    signed,
    speed_cells,
)
from hypir_cli.evaluate.results import Evaluation, comparable
from hypir_cli.folder.pages.page import browser_html, write_page
from hypir_cli.folder.pages.pictures import Pictures, chosen_placement

logger = logging.getLogger(__name__)


def write_html(
    path: Path, evaluation: Evaluation, *, images: Literal["auto", "embed", "beside", "none"]
) -> None:
    """Write the page.

    Raises:
        InputError: A picture cannot be read or the page not written.
    """
    shown = [] if images == "none" else _measured(evaluation)
    pictures = _pictures(path, evaluation, shown, images)
    versions = {key: _versions(evaluation, key, pictures) for key in shown}
    shown = [key for key in shown if versions[key] is not None]
    write_page(
        path,
        title="Evaluation",
        lead=_lead(evaluation),
        body="".join(
            (
                _problems(evaluation),
                _table(evaluation),
                _differences(evaluation),
                _plots(evaluation),
                browser_html(_figure_table(evaluation)) if shown else "",
                _provenance(evaluation),
            )
        ),
        data={
            "columns": [info.id for info in evaluation.metrics if info.per_image],
            "images": [versions[key] for key in shown],
            "orders": _orders(evaluation, shown),
        },
        scripts=("view.js", "browser.js"),
    )


def _measured(evaluation: Evaluation) -> list[str]:
    """Images with a figure by every method; others may have a broken file."""
    return [
        key
        for key in evaluation.pairing.keys
        if all(
            any(key in values for values in columns.values())
            for columns in evaluation.figures.values()
        )
    ]


def _pictures(
    path: Path,
    evaluation: Evaluation,
    keys: list[str],
    images: Literal["auto", "embed", "beside", "none"],
) -> Pictures:
    wanted = "auto" if images == "none" else images
    files = [file for key in keys for file in _files(evaluation, key).values()]
    return Pictures(path, chosen_placement(wanted, files))


def _files(evaluation: Evaluation, key: str) -> dict[str, Path]:
    """Label -> file of every version of an image: input, methods, GT."""
    pairing = evaluation.pairing
    files = {"Input": pairing.lq[key]} if pairing.lq else {}
    files |= {method: found[key] for method, found in pairing.restored.items()}
    return files | ({"GT": pairing.gt[key]} if pairing.gt else {})


def _versions(evaluation: Evaluation, key: str, pictures: Pictures) -> dict[str, object] | None:
    """What the page shows of an image; None where a file is gone since it was measured, which a warning says."""
    versions: list[dict[str, object]] = []
    for label, file in _files(evaluation, key).items():
        try:
            version: dict[str, object] = {"label": label, "src": pictures.add(file)}
        except InputError as error:
            logger.warning("%s is not on the page: %s", key, error.message)
            return None
        columns = _figures(evaluation, label)
        if columns is not None:
            version["figures"] = {
                metric: number(values[key]) for metric, values in columns.items() if key in values
            }
        versions.append(version)
    return {"name": key, "versions": versions}


def _figures(evaluation: Evaluation, label: str) -> Mapping[str, Mapping[str, float]] | None:
    """Metric -> image -> figure of a version; None where it has none."""
    if label == "Input" and evaluation.baseline is not None:
        return evaluation.baseline.figures
    return evaluation.figures.get(label)


def _orders(evaluation: Evaluation, keys: Sequence[str]) -> list[dict[str, object]]:
    """Ways to sort the images: for every metric, how bad the first method's figure is; none where it has no figure."""
    first = evaluation.methods[0]
    better = {info.id: info.better for info in evaluation.metrics}
    even = comparable({first: dict(evaluation.figures[first])}, better)[first]
    return [
        {
            "label": f"{info.id}, worst first",
            "costs": [
                None if key not in even[info.id] else _cost(even[info.id][key], info)
                for key in keys
            ],
        }
        for info in evaluation.metrics
        if info.per_image
    ]


def _cost(value: float, info: MetricInfo) -> float:
    return -value if info.better == "higher" else value


def _lead(evaluation: Evaluation) -> str:
    facts = evaluation.provenance
    items = {
        "Images": coverage(evaluation),
        "Methods": str(len(evaluation.methods)),
        "Protocol": str(facts["protocol"]),
        "Date": str(facts["date"]).replace("T", " "),
        "hypir": f"{facts['hypir']}"
        + (f" ({str(facts['commit'])[:10]})" if facts["commit"] else ""),
    }
    return (
        '<ul class="facts">'
        + "".join(f"<li>{name} <b>{escape(value)}</b></li>" for name, value in items.items())
        + "</ul>"
    )


def _problems(evaluation: Evaluation) -> str:
    if not evaluation.problems:
        return ""
    items = "".join(
        f"<li>{escape(problem.what)} {escape(problem.hint)}</li>" for problem in evaluation.problems
    )
    return (
        f'<section class="card warn" role="alert"><h2>Not measured ({len(evaluation.problems)})</h2>'
        f"<ul>{items}</ul></section>"
    )


def _dot(index: int) -> str:
    return f'<span class="dot" style="background:var(--m{index % COLORS})"></span>'


def _table(evaluation: Evaluation) -> str:
    speed = evaluation.speed
    heads = [
        f'<th scope="col" title="{escape(info.about)}">{escape(mean_heading(info))}</th>'
        for info in evaluation.metrics
    ]
    if speed:
        heads += ['<th scope="col">s / image ↓</th>', '<th scope="col">peak GB ↓</th>']
    rows = []
    for index, method in enumerate(evaluation.methods):
        cells = [_cell(evaluation, method, info) for info in evaluation.metrics]
        if speed:
            cells += [f"<td>{text}</td>" for text in speed_cells(speed.get(method))]
        rows.append(f'<tr><th scope="row">{_dot(index)}{escape(method)}</th>{"".join(cells)}</tr>')
    rows += _baseline_row(evaluation)
    marks = "Best in green, second best underlined. " if len(evaluation.methods) > 1 else ""
    return (
        '<section class="card"><h2>Means</h2><div class="scroll"><table>'
        f"<caption>{escape(coverage(evaluation))}. {marks}Arrows say which way is better; small figures are bootstrap intervals.</caption>"
        f'<thead><tr><th scope="col">Method</th>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _baseline_row(evaluation: Evaluation) -> list[str]:
    if evaluation.baseline is None:
        return []
    cells = [
        f'<td><span class="mean">{item.mean}</span><span class="ci">{item.interval}</span></td>'
        for item in baseline_cells(evaluation)
    ]
    cells += ["<td>–</td>", "<td>–</td>"] if evaluation.speed else []
    label = escape(baseline_label(evaluation))
    return [f'<tr class="baseline"><th scope="row">{label}</th>{"".join(cells)}</tr>']


def _cell(evaluation: Evaluation, method: str, info: MetricInfo) -> str:
    figure = cell(evaluation, method, info)
    spread = f'<span class="ci">{figure.interval}</span>' if figure.interval else ""
    spoken = {"best": ' aria-label="best: %s"', "second": ' aria-label="second best: %s"', "": ""}
    label = spoken[figure.mark].replace("%s", f"{figure.mean}, interval {figure.interval}")
    return f'<td class="{figure.mark}"{label}><span class="mean">{figure.mean}</span>{spread}</td>'


def _differences(evaluation: Evaluation) -> str:
    if not evaluation.differences:
        return ""
    infos = [info for info in evaluation.metrics if info.per_image]
    rows = []
    for index, (method, row) in enumerate(evaluation.differences.items(), start=1):
        cells = []
        for info in infos:
            interval = row[info.id]
            verdict = difference_verdict(interval, info)
            word = "" if verdict == "unclear" else f'<span class="ci {verdict}">{verdict}</span>'
            cells.append(
                f'<td>{signed(interval.mean)}<span class="ci">{interval_text(interval)}</span>{word}</td>'
            )
        rows.append(f'<tr><th scope="row">{_dot(index)}{escape(method)}</th>{"".join(cells)}</tr>')
    heads = "".join(f'<th scope="col">{escape(mean_heading(info))}</th>' for info in infos)
    return (
        f'<section class="card"><h2>Difference to {escape(evaluation.methods[0])}</h2><div class="scroll"><table>'
        "<caption>Mean of the differences image by image, with the paired bootstrap interval. A verdict stands "
        "where the interval leaves zero out.</caption>"
        f'<thead><tr><th scope="col">Method</th>{heads}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div></section>"
    )


def _plots(evaluation: Evaluation) -> str:
    plots = []
    for info in evaluation.metrics:
        if not info.per_image:
            continue
        values = {
            method: columns[info.id]
            for method, columns in comparable(
                {name: {info.id: row[info.id]} for name, row in evaluation.figures.items()},
                {info.id: info.better},
            ).items()
        }
        means = {method: row[info.id] for method, row in evaluation.summary.items()}
        plot = strip_plot(f"{info.id} of every image by method", values, means)
        plots.append(
            f'<div class="plot"><h3>{escape(mean_heading(info))}</h3>'
            f'<p class="note">{escape(info.about)}</p>{plot}</div>'
        )
    return (
        '<section class="card"><h2>Image by image</h2><p class="note">Each dot is an image (point at it for its name, '
        "click to see it); diamonds are means, bars their intervals.</p>"
        f'<div class="plots">{"".join(plots)}</div></section>'
    )


def _figure_table(evaluation: Evaluation) -> str:
    heads = "".join(
        f'<th scope="col">{escape(heading(info))}</th>'
        for info in evaluation.metrics
        if info.per_image
    )
    return (
        '<div class="scroll" style="margin-top:12px"><table><caption>Figures of this image</caption>'
        f'<thead><tr><th scope="col">Method</th>{heads}</tr></thead><tbody data-part="figures"></tbody></table></div>'
    )


def _provenance(evaluation: Evaluation) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(info.id)}</th><td style="text-align:left">{escape(info.provider)}</td>'
        f'<td style="text-align:left">{escape(info.about)}</td></tr>'
        for info in evaluation.metrics
    )
    facts: Mapping[str, object] = evaluation.provenance
    return (
        '<section class="card"><details><summary>How these figures came about</summary>'
        f'<p class="note" style="margin-top:8px">{escape(conditions(evaluation))}</p>'
        '<div class="scroll"><table><thead><tr><th scope="col">Metric</th><th scope="col" style="text-align:left">'
        'Computed by</th><th scope="col" style="text-align:left">What it is</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        f"<pre>{escape(json.dumps(facts, indent=2, ensure_ascii=False))}</pre></details></section>"
    )
