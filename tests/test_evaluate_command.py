"""`hypir eval` as users call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from hypir_cli.cli.app import app
from hypir_cli.config.evaluate import PROTOCOLS
from hypir_cli.evaluate.registry import OWN_METRICS
from tests.eval_sets import NAMES, Sets, make_sets


@pytest.fixture
def sets(tmp_path: Path) -> Sets:
    return make_sets(tmp_path)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_one_call_compares_methods_and_writes_every_format(sets, tmp_path):
    reports = [tmp_path / f"out.{kind}" for kind in ("json", "csv", "md", "html")]
    result = run(
        sets.soft, "--name", "soft", "--compare", f"near={sets.near}", "--gt", sets.gt, "--lq", sets.lq,
        "--metrics", "psnr,ssim", *[part for path in reports for part in ("--report", path)],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "psnr ↑" in result.output
    assert all(path.stat().st_size for path in reports)
    record = json.loads(reports[0].read_text())
    assert record["ranking"]["psnr"] == ["near", "soft"]
    assert record["metrics"][0]["id"] == "psnr"
    assert record["settings"]["measure"]["color_space"] == "rgb"
    assert [image["name"] for image in record["images"]] == sorted(
        NAMES, key=lambda name: name.split("/")
    )
    assert record["images"][0]["restored"]["soft"]["figures"]["psnr"] > 10


def test_what_is_piped_marks_the_best_without_colours(sets):
    result = run(sets.soft, "--name", "soft", "--compare", f"near={sets.near}", "--gt", sets.gt, "--metrics", "psnr")  # fmt: skip
    assert result.output.count("*") == 2
    assert "* best" in result.output
    assert "3 scored of 3 images" in result.output
    assert "*" not in run(sets.soft, "--gt", sets.gt, "--metrics", "psnr").output


def test_the_table_is_printed_in_latex(sets, tmp_path):
    arguments = (sets.soft, "--compare", f"near={sets.near}", "--gt", sets.gt, "--metrics", "psnr")
    result = run(*arguments, "--latex", "--report", tmp_path / "t.tex")
    assert result.exit_code == 0, result.output
    assert r"near & \textbf{" in result.output
    assert (tmp_path / "t.tex").read_text() in result.output


def test_a_report_that_cannot_be_written_is_known_before_anything_is_measured(sets, tmp_path):
    (tmp_path / "r.json").mkdir()
    result = run(sets.soft, "--gt", sets.gt, "--metrics", "psnr", "--report", tmp_path / "r.json")
    assert result.exit_code == 1
    assert "cannot write" in result.output
    assert "psnr ↑" not in result.output


def test_many_problems_are_counted_and_not_all_printed(sets, tmp_path):
    for index in range(30):
        Image.new("RGB", (4, 4)).save(sets.soft / f"lonely{index}.png")
    result = run(sets.soft, "--gt", sets.gt, "--metrics", "psnr", "--report", tmp_path / "r.json")
    assert result.output.count("has no partner") == 20
    assert "10 more like these" in result.output
    assert "3 scored of 33 images" in result.output
    assert len(json.loads((tmp_path / "r.json").read_text())["problems"]) == 30


def test_a_protocol_can_be_changed_by_a_flag_and_is_then_named_as_changed(sets, tmp_path):
    result = run(
        sets.soft, "--gt", sets.gt, "--protocol", "realsr-crop", "--metrics", "psnr", "--report", tmp_path / "r.json"
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["protocol"] == "realsr-crop, changed: metrics"
    assert record["settings"]["measure"]["color_space"] == "y"


def test_a_protocol_may_stand_in_the_settings_file(sets, tmp_path):
    (tmp_path / "eval.yaml").write_text("protocol: realsr-crop\nmetrics: [psnr]\n")
    result = run(sets.soft, "--gt", sets.gt, "--config", tmp_path / "eval.yaml")
    assert result.exit_code == 0, result.output
    assert "psnr and ssim on y" in result.output


def test_a_broken_image_gives_exit_code_one_and_the_other_figures(sets):
    (sets.soft / "cup.png").write_bytes(b"no image")
    result = run(sets.soft, "--gt", sets.gt, "--metrics", "psnr")
    assert result.exit_code == 1
    assert "cup.png" in result.output
    assert "psnr ↑" in result.output


def test_a_metric_given_twice_is_wrong_usage(sets):
    result = run(sets.soft, "--gt", sets.gt, "--metrics", "psnr,psnr")
    assert result.exit_code == 2
    assert "--metrics names psnr more than once" in " ".join(result.output.split())


def test_all_metrics_and_protocols_are_listed():
    shown = run("--list-metrics").output
    for name in (*OWN_METRICS, *PROTOCOLS, "musiq", "lpips", "fid"):
        assert name in shown
    assert "needs --gt" in shown


def test_an_unknown_metric_is_told_what_there_is(sets):
    hint = " ".join(run(sets.soft, "--metrics", "sharpness").output.split())
    assert all(name in hint for name in ("psnr", "consistency", "--list-metrics"))


def test_a_choice_that_there_is_not_is_wrong_usage(sets):
    result = run(sets.soft, "--gt", sets.gt, "--color-space", "lab")
    assert result.exit_code == 2
    assert "'rgb'" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "pnsr"], "did you mean psnr"),
        (["--metrics", "psnr", "--report", "out.pdf"], "a report ends in .json"),
        (["--metrics", "psnr", "--compare", "folder"], "--compare takes NAME=FOLDER"),
        (
            ["--metrics", "psnr", "--compare", "restored=folder"],
            "two methods are called 'restored'",
        ),
        (["--metrics", "psnr", "--restore-report", "x=gone.json"], "gone.json"),
        (["--protocol", "paper"], "there is no protocol 'paper'"),
        (["--metrics", "psnr", "--device", "abacus"], "no device"),
    ],
)
def test_wrong_use_is_an_error_that_says_so(sets, arguments, message):
    result = run(sets.soft, "--gt", sets.gt, *arguments)
    assert result.exit_code == 1
    assert message in result.output


def test_a_call_without_a_folder_is_a_usage_error():
    assert run().exit_code == 2


def test_study_and_ratings_go_round(sets, tmp_path):
    study = tmp_path / "study"
    result = run(
        sets.soft, "--name", "soft", "--compare", f"near={sets.near}", "--gt", sets.gt, "--metrics", "psnr",
        "--user-study", study,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    key = json.loads((study / "key.json").read_text())
    sheets = [rated(key, study / f"ratings-{number}.json", likes="near") for number in (1, 2)]
    result = run("--ratings", sheets[0], "--ratings", sheets[1])
    assert result.exit_code == 0, result.output
    assert result.output.index("near") < result.output.index("soft")
    assert "2 raters" in result.output
    assert "100%" in result.output
    reports = [tmp_path / f"rated.{kind}" for kind in ("json", "csv", "md", "tex", "html")]
    given = [part for path in reports for part in ("--report", path)]
    result = run("--ratings", sheets[0], "--ratings", sheets[1], *given)
    assert result.exit_code == 0, result.output
    for path in reports:
        text = path.read_text().partition("<main")[2] or path.read_text()
        assert text.index("near") < text.index("soft</" if path.suffix == ".html" else "soft"), path
    record = json.loads(reports[0].read_text())
    assert record["num_raters"] == 2
    assert [item["rating"]["mean"] for item in record["methods"]] == [9.0, 4.0]
    assert "100" in reports[3].read_text()
    assert r"\begin{tabular}" in run("--ratings", sheets[0], "--latex").output


def rated(key: dict, path: Path, *, likes: str) -> Path:
    def value(picture: str) -> int:
        return 9 if key["items"][picture]["method"] == likes else 4

    ratings = [
        {"pair": pair["id"], "a": value(pair["a"]), "b": value(pair["b"])} for pair in key["pairs"]
    ]
    path.write_text(
        json.dumps({"format": "hypir-ratings/1", "study": key["study"], "ratings": ratings})
    )
    return path


def test_ratings_of_another_study_are_refused(sets, tmp_path):
    for name in ("one", "two"):
        run(sets.soft, "--lq", sets.lq, "--metrics", "consistency", "--user-study", tmp_path / name, "--set", f"study.seed={len(name) + ord(name[0])}")  # fmt: skip
    key = json.loads((tmp_path / "one" / "key.json").read_text())
    sheet = rated(key, tmp_path / "sheet.json", likes="restored")
    result = run("--ratings", sheet, "--study-key", tmp_path / "two" / "key.json")
    assert result.exit_code == 1
    assert "rates another study" in result.output
    result = run("--ratings", sheet)
    assert result.exit_code == 1
    assert "--study-key" in result.output


def test_pages_and_pictures_of_a_study_do_not_tell_the_methods(sets, tmp_path):
    study = tmp_path / "study"
    run(sets.soft, "--name", "soft-one", "--compare", f"near-one={sets.near}", "--gt", sets.gt, "--metrics", "psnr", "--user-study", study)  # fmt: skip
    page = (study / "study.html").read_text()
    assert "soft-one" not in page
    assert "near-one" not in page
    assert not any(name.split("/")[-1] in page for name in NAMES)
    pictures = list((study / "pictures").iterdir())
    assert len(pictures) == 6
    for path in pictures:
        with Image.open(path) as image:
            assert not image.info


def test_a_folder_with_a_study_is_not_overwritten(sets, tmp_path):
    arguments = (
        sets.soft,
        "--lq",
        sets.lq,
        "--metrics",
        "consistency",
        "--user-study",
        tmp_path / "s",
    )
    assert run(*arguments).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 1
    assert "holds a study already" in result.output
