"""README stays true: its list of options, its Python example, the licences it names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from hypir_cli.cli.reference import renewed

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_list_of_options_is_what_the_commands_say() -> None:
    assert renewed(README) == README, "run `python -m hypir_cli.cli.reference README.md`"


def test_a_text_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="options: begin"):
        renewed("no marks here")


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


def test_files_that_it_links_are_there() -> None:
    for link in re.findall(r"\]\((?!https?://)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
