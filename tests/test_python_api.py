"""The public API: every example of docs/python.md runs, and importing the package loads nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import hypir_cli

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text("utf-8"), flags=re.DOTALL
)


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 9


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example_of_the_page_runs(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scans").mkdir()
    for name in ("coffee", "raccoon"):
        with Image.open(ROOT / "examples" / "photos" / f"{name}.jpg") as picture:
            picture.crop((0, 0, 64, 48)).save(f"scans/{name}.png")
            picture.crop((0, 0, 64, 48)).save("old.jpg")
    exec(compile(code, "docs/python.md", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("name", hypir_cli.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(hypir_cli, name)
    assert name in dir(hypir_cli)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        hypir_cli.Motor  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import hypir_cli",
        "from hypir_cli import RestoreConfig, read_image",
        "import hypir_cli.cli.app",
    ],
)
def test_what_needs_no_torch_loads_none(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
