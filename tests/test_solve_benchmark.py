"""The benchmark of `hypir solve`, on one small picture with hardly any calls."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.pictures import EXAMPLES

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
PHOTO = EXAMPLES / "originals" / "raccoon.jpg"
ARMS = (
    *("dps", "dpps", "spgd", "spgd, no momentum", "spgd, no warm-up", "latino"),
    *("A_dagger", "hypir restore"),
)


@pytest.mark.slow
def test_every_method_is_in_the_table_and_a_second_run_does_nothing_twice(tmp_path: Path) -> None:
    pytest.importorskip("stlpips_pytorch")
    from solve import main

    (tmp_path / "photos").mkdir()
    with Image.open(PHOTO) as picture:
        picture.crop((200, 120, 300, 220)).save(tmp_path / "photos" / "a.png")
    command = [str(tmp_path / "photos"), "--out-dir", str(tmp_path / "out")]
    command += ["--crop", "80", "--calls", "6"]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        main(command)
    rows = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 5 * len(ARMS)
    sampled = [row for row in rows if row["arm"] in ("dps", "dpps", "latino")]
    assert {row["calls"] for row in sampled} == {6}
    assert all(row["calls"] <= 6 for row in rows)
    assert all(row["psnr"] > 0 and row["stlpips-vgg"] > 0 for row in rows)
    for arm in ARMS:
        assert f"| all | {arm} |" in shown.getvalue()
    assert "| spgd over dps | 0.3 | " in shown.getvalue()
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > sheet.height
    again = io.StringIO()
    with contextlib.redirect_stdout(again):
        main(command)
    assert " dB, " not in again.getvalue()
