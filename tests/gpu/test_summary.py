"""The script that says what failed on a GPU machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_summary.py"
REPORT = """<testsuites><testsuite name="pytest">
<testcase classname="tests.gpu.test_restoring" name="test_good[sd2-cuda]" />
<testcase classname="tests.gpu.test_restoring" name="test_bad[flux-cuda]">
<failure message="AssertionError: assert 0.3 &lt; 0.02&#10;more">trace</failure></testcase>
<testcase classname="tests.gpu.test_training" name="test_worse[tiny-cuda]">
<error message="">torch.OutOfMemoryError: CUDA out of memory</error></testcase>
</testsuite></testsuites>"""


def said(folder: Path, text: str) -> str:
    (folder / "gpu.xml").write_text(text, encoding="utf-8")
    command = [sys.executable, SCRIPT, folder / "gpu.xml"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_failure_is_named_with_its_reason_and_the_rest_counted(tmp_path):
    assert said(tmp_path, REPORT).splitlines() == [
        "FAILED tests.gpu.test_restoring::test_bad[flux-cuda]",
        "    AssertionError: assert 0.3 < 0.02",
        "FAILED tests.gpu.test_training::test_worse[tiny-cuda]",
        "    torch.OutOfMemoryError: CUDA out of memory",
        "1 passed, 2 failed",
    ]


def test_a_run_without_tests_is_not_called_a_success(tmp_path):
    assert "no test ran" in said(tmp_path, "<testsuites><testsuite/></testsuites>")
