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
    assert second.endswith("pip install -e '.[all,dev]' && python -m pytest -n 2")


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


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_commands_that_a_page_shows_have_the_options_they_name(page: Path) -> None:
    commands = _shown_commands(page.read_text(encoding="utf-8"))
    options = {name: _options(name) for name, _ in commands}
    for name, flags in commands:
        assert set(flags) <= options[name], f"hypir {name}"


def _shown_commands(text: str) -> list[tuple[str, list[str]]]:
    """Subcommand and long options of every `hypir` command in the shell blocks of a page."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [re.search(r"(?:^|&& )hypir ([a-z][a-z-]*)(.*)", line) for line in lines]
    return [(match[1], re.findall(r"(?<=\s)--[a-z][\w-]*", match[2])) for match in found if match]


def _options(command: str) -> set[str]:
    """Long options of a subcommand, as the page of options lists them."""
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    section = re.search(rf"^## hypir {command}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    assert section is not None, f"there is no command {command}"
    return {"--help", *re.findall(r"--[a-z][\w-]*", section[1])}
