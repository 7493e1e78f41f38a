"""What a run of `pytest -m gpu` says, in a few lines: counts, and each failure with the last line of its error.

python -m pytest tests/gpu -m gpu --junitxml=gpu.xml; python benchmarks/gpu_summary.py gpu.xml
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.etree import ElementTree


def summary(report: Path) -> str:
    """Failures first by name with their reasons, then the counts; a run without tests is said to be none."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = [(case, found) for case in cases if (found := _failure(case)) is not None]
    lines = [f"FAILED {_name(case)}\n    {_reason(found)}" for case, found in failed]
    if not cases:
        return "no test ran: torch found no GPU, or -m gpu was left out."
    return "\n".join([*lines, f"{len(cases) - len(failed)} passed, {len(failed)} failed"])


def _failure(case: ElementTree.Element) -> ElementTree.Element | None:
    failure = case.find("failure")
    return case.find("error") if failure is None else failure


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '')}::{case.get('name', '')}"


def _reason(found: ElementTree.Element) -> str:
    text = (found.get("message") or found.text or "").strip().splitlines()
    return text[0] if text else "no reason given"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    print(summary(parser.parse_args().report))
