"""README and the pages in docs stay true: the options, the Python example, what they link."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from hypir_cli.cli.reference import options_markdown

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_options_is_what_the_commands_say() -> None:
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert options_markdown() == page, "run `python -m hypir_cli.cli.reference docs/options.md`"


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 150


def test_it_opens_with_the_two_command_lines() -> None:
    first, second = re.findall(r"```sh\n(.*?)\n```", README, flags=re.DOTALL)[:2]
    assert first.endswith("pip install . && hypir restore examples/photos restored")
    assert second.endswith("pip install -e '.[all,dev]' && python -m pytest")


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert code is not None
    shutil.copy(ROOT / "examples" / "photos" / "coffee.jpg", tmp_path / "old.jpg")
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], "README.md", "exec"), {})
    with Image.open("new.png") as new, Image.open("old.jpg") as old:
        assert new.size == old.size


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_a_page_links_are_there(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
