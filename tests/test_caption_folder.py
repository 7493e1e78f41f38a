"""Captioning many images: what is written, what an interrupted run keeps, what a bad image does."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from typer.testing import CliRunner

from hypir_cli.caption.images import (
    SidecarStore,
    caption_images,
    load_for_captioning,
    open_store,
)
from hypir_cli.caption.models.base import CaptionInput, FixedCaptioner, Outcome
from hypir_cli.caption.models.sidecar import SidecarCaptioner
from hypir_cli.cli.app import app
from hypir_cli.errors import BackboneError, HypirError, InputError
from hypir_cli.folder.prompt_table import PromptTable, read_prompts
from hypir_cli.folder.scan import find_images
from hypir_cli.folder.sidecar import find_sidecar, read_sidecar


@dataclass
class ColorCaptioner:
    """Names the colour of the first pixel and remembers how many images came at once."""

    batches: list[int] = field(default_factory=list)
    fail_after: int | None = None

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        if self.fail_after is not None and sum(self.batches) >= self.fail_after:
            raise BackboneError("the model is gone.")
        self.batches.append(len(inputs))
        return [f"A field of {item.image.getpixel((0, 0))}." for item in inputs]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "trip/c.png", "trip/d.webp", "trip/é 1.png")):
        Image.new("RGB", (8, 6), (index * 10, 0, 0)).save(folder / name)
    (folder / "notes.md").write_text("no image")
    return folder


def captioned(photos: Path, form: str, out: Path | None, **options: Any) -> Any:
    images = find_images([photos]).images
    store = open_store(form, images=images, out=out)  # type: ignore[arg-type]
    return caption_images(
        [item.path for item in images], options.pop("by", ColorCaptioner()), store, **options
    )


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_tables_hold_one_row_per_image_under_its_full_path(photos: Path, form: str) -> None:
    out = photos.parent / f"prompts.{form}"
    assert captioned(photos, form, out).written == 5
    prompts = read_prompts(out)
    assert prompts[str(photos / "b.jpg")].startswith("A field of (")
    assert prompts[str(photos / "trip/é 1.png")] == "A field of (40, 0, 0)."
    assert len(prompts) == 5


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_table_can_be_moved_together_with_its_images(photos: Path, form: str) -> None:
    out = photos.parent / f"prompts.{form}"
    captioned(photos, form, out)
    if form == "jsonl":
        names = {json.loads(line)["image_path"] for line in out.read_text().splitlines()}
        assert "photos/trip/é 1.png" in names
        assert not any(name.startswith("/") for name in names)
    moved = photos.parent / "elsewhere"
    moved.mkdir()
    photos.rename(moved / "photos")
    out = out.rename(moved / out.name)
    assert read_prompts(out)[str(moved / "photos" / "b.jpg")].startswith("A field of (")
    assert captioned(moved / "photos", form, out).skipped == 5


def test_a_table_knows_rows_under_whole_paths_too(photos: Path) -> None:
    out = photos.parent / "p.jsonl"
    row = {"image_path": str(photos / "a.png"), "prompt": "old"}
    out.write_text(json.dumps(row) + "\n")
    assert captioned(photos, "jsonl", out).skipped == 1


def test_a_table_that_cannot_be_written_is_known_before_the_work(photos: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        open_store("jsonl", images=[], out=photos / "a.png" / "p.jsonl")


def test_a_prompt_that_cannot_be_written_is_its_images_failure(photos: Path) -> None:
    (photos / "trip" / "c.txt").mkdir()
    summary = captioned(photos, "sidecar", None)
    assert summary.written == 4
    ((path, error),) = summary.failures
    assert path == photos / "trip" / "c.png"
    assert "cannot write" in error.message


def test_a_full_disk_ends_the_run(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, prompts: object) -> None:
        raise InputError("cannot write") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SidecarStore, "add", full)
    with pytest.raises(InputError, match="cannot write"):
        captioned(photos, "sidecar", None)


def test_failures_are_lines_of_their_own_whatever_the_name_is_long(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "long " * 40 + ".png"
    (photos / name).write_bytes(b"broken")
    for arguments in (
        ["caption", str(photos), "--captioner", "fixed", "--text", "x"],
        ["restore", str(photos), str(photos.parent / "o")],
        ["degrade", str(photos), str(photos.parent / "d")],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        (line,) = [line for line in result.output.splitlines() if line.startswith("Failed: ")]
        assert line.count(name) <= 2  # the decoder may name it once more
        assert "cannot read" not in line


def test_parquet_has_the_two_text_columns_and_nothing_stands_beside_it(photos: Path) -> None:
    out = photos.parent / "prompts.parquet"
    captioned(photos, "parquet", out)
    schema = pyarrow.parquet.read_schema(out)
    assert [(item.name, str(item.type)) for item in schema] == [
        ("image_path", "string"),
        ("prompt", "string"),
    ]
    assert sorted(path.name for path in photos.parent.iterdir()) == ["photos", "prompts.parquet"]


def test_sidecars_stand_beside_the_images(photos: Path) -> None:
    captioned(photos, "sidecar", None)
    assert (photos / "trip/c.txt").read_text(encoding="utf-8") == "A field of (20, 0, 0).\n"
    assert find_sidecar(photos / "trip/c.png") == photos / "trip/c.txt"


def test_a_tree_of_sidecars_mirrors_the_images(photos: Path) -> None:
    out = photos.parent / "texts"
    captioned(photos, "sidecar", out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.txt")) == [
        "a.txt",
        "b.txt",
        "trip/c.txt",
        "trip/d.txt",
        "trip/é 1.txt",
    ]
    assert not list(photos.rglob("*.txt"))


def test_equal_names_of_several_inputs_do_not_collide(photos: Path) -> None:
    Image.new("RGB", (8, 6), "blue").save(photos / "trip/a.jpg")
    images = find_images([photos / "a.png", photos / "trip/a.jpg"]).images
    store = SidecarStore(images, out=photos.parent / "texts")
    assert {store.path_of(item.path).name for item in images} == {"a.png.txt", "a.jpg.txt"}


def test_images_that_share_a_stem_have_sidecars_of_their_own(photos: Path) -> None:
    Image.new("RGB", (8, 6), "blue").save(photos / "a.jpg")
    captioned(photos, "sidecar", None)
    assert not (photos / "a.txt").exists()
    assert find_sidecar(photos / "a.jpg") == photos / "a.jpg.txt"
    assert "254" in read_sidecar(photos / "a.jpg.txt")
    assert read_sidecar(photos / "a.png.txt") == "A field of (0, 0, 0)."


@pytest.mark.parametrize("form", ["sidecar", "jsonl", "parquet"])
def test_a_second_run_asks_about_new_images_only(photos: Path, form: str) -> None:
    out = None if form == "sidecar" else photos.parent / f"p.{form}"
    captioned(photos, form, out)
    Image.new("RGB", (8, 6), "white").save(photos / "new.png")
    again = ColorCaptioner()
    summary = captioned(photos, form, out, by=again)
    assert (summary.written, summary.skipped, again.batches) == (1, 5, [1])


@pytest.mark.parametrize("form", ["sidecar", "jsonl", "parquet"])
def test_overwriting_replaces_prompts_and_repeats_no_row(photos: Path, form: str) -> None:
    out = None if form == "sidecar" else photos.parent / f"p.{form}"
    captioned(photos, form, out)
    captioned(photos, form, out, by=FixedCaptioner("New."), existing="overwrite")
    if out is None:
        assert read_sidecar(photos / "a.txt") == "New."
        return
    assert set(read_prompts(out).values()) == {"New."}
    if form == "jsonl":
        assert len(out.read_text(encoding="utf-8").splitlines()) == 5


def test_existing_prompts_can_be_an_error(photos: Path) -> None:
    captioned(photos, "sidecar", None)
    with pytest.raises(InputError, match="5 images have a prompt"):
        captioned(photos, "sidecar", None, existing="error")


@pytest.mark.parametrize("form", ["sidecar", "jsonl", "parquet"])
def test_what_was_finished_before_a_failure_is_kept_and_the_next_run_goes_on(
    photos: Path, form: str
) -> None:
    out = None if form == "sidecar" else photos.parent / f"p.{form}"
    with pytest.raises(BackboneError):
        captioned(photos, form, out, by=ColorCaptioner(fail_after=4), batch=2)
    again = ColorCaptioner()
    summary = captioned(photos, form, out, by=again, batch=2)
    assert (summary.skipped, again.batches) == (4, [1])


def test_a_bad_image_is_named_and_the_others_are_captioned(photos: Path) -> None:
    (photos / "b.jpg").write_bytes(b"\xff\xd8\xff not an image")
    captioner = ColorCaptioner()
    progress: list[tuple[int, int]] = []
    summary = captioned(
        photos,
        "jsonl",
        photos.parent / "p.jsonl",
        by=captioner,
        batch=3,
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert summary.written == 4
    assert [path.name for path, _ in summary.failures] == ["b.jpg"]
    assert captioner.batches == [2, 2]
    assert progress == [(3, 5), (5, 5)]


def test_images_can_be_prepared_first_and_that_may_fail_for_one(photos: Path) -> None:
    def invert(image: Image.Image) -> Image.Image:
        if image.getpixel((0, 0)) == (0, 0, 0):
            raise HypirError("too dark.")
        return Image.new("RGB", image.size, "white")

    out = photos.parent / "p.jsonl"
    summary = captioned(photos, "jsonl", out, prepare=invert)
    assert set(read_prompts(out).values()) == {"A field of (255, 255, 255)."}
    assert [(path.name, error.message) for path, error in summary.failures] == [
        ("a.png", "too dark.")
    ]


def test_captioners_see_upright_8_bit_rgb_over_white(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 65535, np.uint16)).save(tmp_path / "grey16.png")
    Image.new("RGBA", (5, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (5, 4), "red").save(tmp_path / "turned.jpg", exif=turned)
    for name, size in (("grey16.png", (5, 4)), ("clear.png", (5, 4)), ("turned.jpg", (4, 5))):
        image = load_for_captioning(tmp_path / name)
        assert (image.mode, image.size) == ("RGB", size)
    assert load_for_captioning(tmp_path / "grey16.png").getpixel((0, 0)) == (255, 255, 255)
    assert load_for_captioning(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_a_torn_last_line_is_mended_and_its_image_asked_about_again(photos: Path) -> None:
    out = photos.parent / "p.jsonl"
    captioned(photos, "jsonl", out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-20])
    assert captioned(photos, "jsonl", out).written == 1
    assert out.read_bytes() == whole


def test_a_killed_run_leaves_rows_that_the_next_one_takes_up(photos: Path) -> None:
    out = photos.parent / "p.parquet"
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from hypir_cli.caption.images import caption_images, open_store\n"
        "from hypir_cli.folder.scan import find_images\n"
        "class Slow:\n"
        "    def caption(self, inputs):\n"
        "        time.sleep(0.2)\n"
        "        return ['Slow.'] * len(inputs)\n"
        "images = find_images([sys.argv[1]]).images\n"
        "store = open_store('parquet', images=images, out=Path(sys.argv[2]))\n"
        "caption_images([item.path for item in images], Slow(), store, batch=1)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(photos), str(out)])
    lines = out.with_name(".p.parquet.jsonl")
    deadline = time.monotonic() + 60
    while not (lines.exists() and lines.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = len(lines.read_text(encoding="utf-8").splitlines())
    summary = captioned(photos, "parquet", out)
    assert (summary.skipped, summary.written) == (kept, 5 - kept)
    assert list(read_prompts(out).values()).count("Slow.") == kept >= 1


def test_damaged_tables_are_named_with_the_line(tmp_path: Path) -> None:
    table = tmp_path / "p.jsonl"
    table.write_text(
        '{"image_path": "a.png", "prompt": "x"}\n{"image_path": 3}\n', encoding="utf-8"
    )
    with pytest.raises(InputError, match="line 2"):
        read_prompts(table)
    table.write_text("{]\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1 is not JSON"):
        PromptTable(table, form="jsonl")
    with pytest.raises(InputError, match="cannot read"):
        read_prompts(tmp_path / "absent.jsonl")
    (tmp_path / "p.parquet").write_bytes(b"nothing")
    with pytest.raises(InputError, match="as Parquet"):
        read_prompts(tmp_path / "p.parquet")
    with pytest.raises(InputError, match="is a folder"):
        PromptTable(tmp_path, form="jsonl")


def test_a_parquet_file_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    table = pyarrow.table({"url": ["x"], "prompt": ["y"]})
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(InputError, match="has the columns url, prompt"):
        PromptTable(tmp_path / "p.parquet", form="parquet")


def test_relative_paths_in_a_table_belong_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(
        '{"image_path": "sub/a.png", "prompt": "x"}\n', encoding="utf-8"
    )
    assert read_prompts(tmp_path / "p.jsonl") == {str(tmp_path / "sub/a.png"): "x"}
    assert tmp_path / "sub/a.png" in PromptTable(tmp_path / "p.jsonl", form="jsonl")


def test_the_sidecar_captioner_gathers_existing_texts(photos: Path) -> None:
    captioned(photos, "sidecar", None)
    (photos / "a.txt").unlink()
    (photos / "b.txt").write_bytes("Straße".encode("latin-1"))
    out = photos.parent / "p.jsonl"
    summary = captioned(photos, "jsonl", out, by=SidecarCaptioner())
    assert summary.written == 3
    messages = [error.message for _, error in summary.failures]
    assert "no .txt" in messages[0]
    assert "not UTF-8" in messages[1]
    assert read_prompts(out)[str(photos / "trip/c.png")] == "A field of (20, 0, 0)."


def test_a_full_disk_is_an_error_with_a_hint(photos: Path) -> None:
    store = SidecarStore(find_images([photos]).images, out=photos / "a.png")
    with pytest.raises(InputError) as caught:
        store.add([(photos / "b.jpg", "x")])
    assert caught.value.hint
    table = PromptTable(photos / "p.jsonl", form="jsonl")
    (photos / "p.jsonl").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        table.add([(photos / "b.jpg", "x")])


def test_the_command_writes_a_table_and_counts(photos: Path) -> None:
    out = photos.parent / "p.jsonl"
    arguments = ["caption", str(photos), "--to", "jsonl", "--out", str(out)]
    fixed = ["--captioner", "fixed", "--text", "A photograph."]
    result = CliRunner().invoke(app, [*arguments, *fixed])
    assert result.exit_code == 0, result.output
    assert "5 captioned, 0 had a prompt, 0 failed" in result.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [set(row) for row in rows] == [{"image_path", "prompt"}] * 5
    assert "0 captioned, 5 had a prompt" in CliRunner().invoke(app, [*arguments, *fixed]).output


def test_the_command_ends_with_1_when_an_image_failed(photos: Path) -> None:
    (photos / "a.png").write_bytes(b"broken")
    result = CliRunner().invoke(
        app, ["caption", str(photos), "--captioner", "fixed", "--text", "A photograph."]
    )
    assert result.exit_code == 1
    assert "a.png" in result.output
    assert "4 captioned" in result.output


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--to", "jsonl"], "needs --out", 2),
        (["--captioner", "fixed"], "needs a text", 2),
        (["--set", "captioner.kind=gpt"], "must be one of", 1),
        (["--captioner", "fixed", "--text", "x", "--batch", "0"], "batch must be at least 1", 2),
    ],
)
def test_wrong_settings_are_named(
    photos: Path, arguments: list[str], message: str, code: int
) -> None:
    result = CliRunner().invoke(app, ["caption", str(photos), *arguments])
    assert result.exit_code == code
    assert message in " ".join(result.output.split())
