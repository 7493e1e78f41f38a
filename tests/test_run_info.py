from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config.run_dir import read_metrics
from hypir_cli.errors import InputError
from hypir_cli.info.curves import plot_curves
from hypir_cli.info.run import is_run_dir, read_run, read_summary, summarize_run
from hypir_cli.train.monitor import Monitor


def _write_run(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "model: {backbone: tiny}\nschedule: {first: {steps: 60}, second: {steps: 20}}\n",
        encoding="utf-8",
    )
    lines: list[dict[str, float]] = [{"step": 0, "val/psnr": 20.0, "lq/psnr": 19.0}]
    lines += [
        {"step": step, "loss/pixel": 1 / step, "norm/generator": 1.0, "skipped": 2}
        for step in range(1, 51)
    ]
    lines.append({"step": 50, "val/psnr": 22.5})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 51, "lo', encoding="utf-8")
    (folder / "checkpoints" / "step-50").mkdir(parents=True)
    (folder / "checkpoints" / "step-9").mkdir()
    return folder


def test_a_summary_has_the_first_and_the_last_scores(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "run")
    summary = read_summary(run)
    assert is_run_dir(run)
    assert (summary.backbone, summary.step, summary.total_steps) == ("tiny", 50, 80)
    assert summary.checkpoints == (9, 50)
    assert summary.skipped == 2
    assert summary.first_scores == {"val/psnr": 20.0, "lq/psnr": 19.0}
    assert summary.last_scores == {"val/psnr": 22.5}
    assert summary.last["loss/pixel"] == 0.02


def test_facts_compare_with_the_start_and_with_the_input(tmp_path: Path) -> None:
    facts = summarize_run(_write_run(tmp_path / "run"))
    assert facts["updates"] == "50 of 80, 2 skipped"
    assert facts["psnr"] == "22.5 (before training 20), degraded input 19"
    assert Path(facts["curves"]).is_file()


def test_facts_of_a_run_come_as_json_and_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _write_run(tmp_path / "run")
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    result = CliRunner().invoke(app, ["info", str(run), "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["updates"] == "50 of 80, 2 skipped"
    assert facts["curves"].startswith("not drawn: drawing curves needs the package matplotlib")
    assert "updates" in CliRunner().invoke(app, ["info", str(run)]).stdout


def test_curves_are_drawn_as_one_picture(tmp_path: Path) -> None:
    run_dir = _write_run(tmp_path / "run")
    path = plot_curves(run_dir, read_run(run_dir)[1])
    assert path == tmp_path / "run" / "curves.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert not is_run_dir(tmp_path)
    with pytest.raises(InputError, match="is not the folder of a training run"):
        read_summary(tmp_path)


def test_a_damaged_line_within_the_metrics_is_named(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"step": 1}\nnot json\n{"step": 3}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 2 of"):
        read_summary(run)


def test_a_log_that_cannot_be_written_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path, tensorboard=False, step=0)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(InputError, match="cannot write") as caught:
        monitor.log(1, {"loss/pixel": 1.0})
    assert "--resume auto" in caught.value.hint


def test_resuming_drops_lines_after_the_checkpoint(tmp_path: Path) -> None:
    run = _write_run(tmp_path / "run")
    Monitor(run, tensorboard=False, step=7).close()
    assert max(line["step"] for line in read_metrics(run / "metrics.jsonl")) == 7
