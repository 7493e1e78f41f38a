"""Reports as files: marks, formats, addresses of pictures, and text that cannot break out of a page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from hypir_cli.config.evaluate import EvaluateConfig
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.evaluate.bootstrap import Interval
from hypir_cli.evaluate.registry import find_metric
from hypir_cli.evaluate.report import check_report_path, write_report
from hypir_cli.evaluate.report.plots import strip_plot
from hypir_cli.evaluate.report.record import to_record
from hypir_cli.evaluate.report.tables import (
    conditions,
    difference_verdict,
    number,
    to_csv,
    to_latex,
    to_markdown,
)
from hypir_cli.evaluate.results import Evaluation
from hypir_cli.evaluate.run import Folders, evaluate
from hypir_cli.folder.pages import ComparisonRow, write_comparison_page
from hypir_cli.folder.pages.pictures import chosen_placement, relative_address
from tests.eval_sets import Sets, make_sets


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    return make_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def found(sets: Sets) -> Evaluation:
    methods = {"soft": sets.soft, "<b>near</b>": sets.near, "a|b": sets.soft}
    return evaluate(Folders(methods=methods, gt=sets.gt), EvaluateConfig(metrics=("psnr",)))


def test_numbers_have_the_decimals_that_papers_print():
    assert [number(value) for value in (22.1634, 0.58771, 3.8324, -1.5, 4123.4)] == [
        "22.16", "0.5877", "3.832", "−1.500", "4123",
    ]  # fmt: skip


def test_markdown_marks_the_best_and_the_second_best_and_says_how(found):
    text = to_markdown(found)
    assert "| <b>near</b> | **" in text
    assert "| soft | <u>" in text
    assert "a\\|b" in text
    assert "psnr and ssim on rgb, border 0 px" in text


def test_csv_has_a_line_for_every_figure_and_mean(found):
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(rows) == 3 * 3 + 3
    assert rows[0]["metric"] == "psnr"
    assert float(rows[-1]["low"]) <= float(rows[-1]["value"]) <= float(rows[-1]["high"])


def test_latex_marks_the_best_and_escapes_names(found):
    text = to_latex(found)
    assert r"$<$b$>$near$<$/b$>$ & \textbf{" in text
    assert r"a$|$b & " in text
    assert r"psnr $\uparrow$" in text
    assert text.count(r"\\") == 1 + len(found.methods)
    assert text.startswith("% 3 scored of 3 images; protocol")


def test_the_inputs_stand_below_the_methods_in_every_format(sets):
    folders = Folders(methods={"soft": sets.soft, "near": sets.near}, gt=sets.gt, lq=sets.lq)
    found = evaluate(folders, EvaluateConfig(metrics=("psnr", "texture-ratio", "consistency")))
    markdown, latex = to_markdown(found), to_latex(found)
    row = next(line for line in markdown.splitlines() if line.startswith("| input (unranked)"))
    assert "**" not in row
    assert row.endswith("– |")
    assert "\\|log texture-ratio\\| ↓" in markdown
    assert latex.count(r"\midrule") == 2
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert {line["image"] for line in rows if line["method"] == "input (unranked)"} == {
        "(mean)", "(mean of |log|)",
    }  # fmt: skip
    record = to_record(found)
    assert set(record["baseline"]["summary"]) == {"psnr", "texture-ratio"}
    assert record["metrics"][1]["mean_of"] == "|log figure|"


def test_a_report_says_how_many_of_how_many_were_scored(sets, tmp_path):
    few = tmp_path / "few"
    for name in ("cup.png", "portrait.png"):
        few.mkdir(exist_ok=True)
        (few / name).write_bytes((sets.near / name).read_bytes())
    (few / "portrait.png").write_bytes(b"broken")
    found = evaluate(Folders(methods={"few": few}, gt=sets.gt), EvaluateConfig(metrics=("psnr",)))
    assert conditions(found).startswith("1 scored of 3 images;")
    assert to_record(found)["num_images_found"] == 3


def test_json_says_how_the_figures_came_about(found):
    record = json.loads(json.dumps(to_record(found)))
    assert record["format"] == "hypir-eval/1"
    assert record["metrics"][0]["provider"].startswith("hypir ")
    assert {"torch", "numpy"} <= set(record["packages"])
    assert record["settings"]["bootstrap"]["seed"] == 0
    assert record["differences_to"] == "soft"


@pytest.mark.parametrize(
    ("low", "high", "metric", "verdict"),
    [
        (0.1, 0.2, "psnr", "better"),
        (0.1, 0.2, "niqe", "worse"),
        (-0.2, -0.1, "niqe", "better"),
        (-0.1, 0.1, "psnr", "unclear"),
        (0.1, 0.2, "texture-ratio", "worse"),
    ],
)
def test_a_difference_gets_a_verdict_only_when_its_interval_leaves_zero_out(
    low, high, metric, verdict
):
    interval = Interval(mean=(low + high) / 2, low=low, high=high, count=3)
    assert difference_verdict(interval, find_metric(metric)) == verdict


def test_images_can_be_sorted_by_how_bad_they_are(found, tmp_path):
    write_report(tmp_path / "r.html", found)
    text = (tmp_path / "r.html").read_text()
    data = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    (order,) = data["orders"]
    assert order["label"] == "psnr, worst first"
    costs = [-found.figures["soft"]["psnr"][image["name"]] for image in data["images"]]
    assert order["costs"] == costs


@pytest.mark.parametrize("name", ["taken.html", "file/r.html"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(tmp_path, name):
    (tmp_path / "taken.html").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        check_report_path(tmp_path / name)


def test_names_cannot_break_out_of_the_page(found, tmp_path):
    write_report(tmp_path / "r.html", found)
    text = (tmp_path / "r.html").read_text()
    assert "<b>near</b>" not in text
    assert "&lt;b&gt;near&lt;/b&gt;" in text
    assert "\\u003cb>near" in text


def test_pictures_lie_beside_the_page_or_inside_it_or_nowhere(found, tmp_path):
    for images in ("beside", "embed", "none"):
        write_report(tmp_path / f"{images}.html", found, images=images)
    assert len(list((tmp_path / "beside_files").iterdir())) == 3 * 4
    assert "beside_files/00001.png" in (tmp_path / "beside.html").read_text()
    assert "data:image/webp" in (tmp_path / "embed.html").read_text()
    assert 'id="browser"' not in (tmp_path / "none.html").read_text()


def test_large_sets_are_put_beside_the_page(sets, monkeypatch):
    files = sorted(sets.soft.rglob("*.png"))
    assert chosen_placement("auto", files) == "embed"
    monkeypatch.setattr("hypir_cli.folder.pages.pictures.MAX_EMBEDDED_PIXELS", 5000)
    assert chosen_placement("auto", files) == "beside"
    assert chosen_placement("embed", files) == "embed"


def test_addresses_are_relative_and_quoted(tmp_path):
    page = tmp_path / "out" / "page.html"
    assert relative_address(tmp_path / "in put" / "a#1.png", page) == "../in%20put/a%231.png"


def test_a_format_browsers_do_not_show_is_copied(sets, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif")
    row = ComparisonRow(
        name="a", before=tmp_path / "a.tif", after=(sets.gt / "cup.png", sets.soft / "cup.png")
    )
    write_comparison_page(tmp_path / "page.html", [row])
    text = (tmp_path / "page.html").read_text()
    assert "page_files/00001.png" in text
    assert "Restored 2" in text
    assert '"mode": "slider"' in text
    write_comparison_page(tmp_path / "page.html", [row], side_by_side=True)
    assert '"mode": "side"' in (tmp_path / "page.html").read_text()
    with pytest.raises(ValueError, match="at least one row"):
        write_comparison_page(tmp_path / "page.html", [])


def test_plots_hold_a_dot_for_every_image_also_when_all_figures_are_equal():
    mean = Interval(mean=2.0, low=2.0, high=2.0, count=2)
    plot = strip_plot("psnr", {"m": {"a": 2.0, "b": 2.0}}, {"m": mean})
    assert plot.count("<circle") == 2
    assert "nan" not in plot
    whole_set = Interval(mean=2.0, low=None, high=None, count=2)
    assert "<line" in strip_plot("fid", {"m": {"a": 1.0}}, {"m": whole_set})


def test_a_report_of_unknown_format_is_refused(found, tmp_path):
    with pytest.raises(ConfigError, match=r"a report ends in .*got 'r.pdf'"):
        write_report(tmp_path / "r.pdf", found)


def test_a_report_lists_what_was_not_measured(sets, tmp_path):
    broken = make_sets(tmp_path / "again")
    (broken.soft / "cup.png").write_bytes(b"")
    result = evaluate(
        Folders(methods={"soft": broken.soft}, gt=broken.gt), EvaluateConfig(metrics=("psnr",))
    )
    for kind in ("html", "md"):
        path: Path = tmp_path / f"r.{kind}"
        write_report(path, result)
        assert "cup.png" in path.read_text()
