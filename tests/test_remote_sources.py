"""Training photographs, prompts and captions in a store instead of on the disk."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config.data import DataConfig
from hypir_cli.errors import InputError
from hypir_cli.train.data.dataset import make_loader
from hypir_cli.train.data.sources import find_items, read_prompt
from tests.object_store import BUCKET, ObjectStore

ROOT = f"s3://{BUCKET}"


def _png(level: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 20), (level, level, level)).save(file, "PNG")
    return file.getvalue()


def _shard(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _levels_and_prompts(source: str) -> list[tuple[int, str]]:
    found = []
    for item in (item for group in find_items([source]) for item in group):
        with Image.open(io.BytesIO(item.image.read())) as picture:
            level = picture.getpixel((0, 0))
        assert isinstance(level, tuple)
        found.append((level[0], read_prompt(item, default="-")))
    return found


def test_a_folder_a_pattern_and_a_shard_in_a_store_are_training_sources(
    store: ObjectStore,
) -> None:
    store.put("set/a.png", _png(10))
    store.put("set/a.txt", b"a mill")
    store.put("set/deep/b.png", _png(20))
    store.put("set/notes.md", b"no picture")
    store.put("one.tar", _shard({"x.png": _png(30), "x.txt": b"a boat", "y.png": _png(40)}))
    assert _levels_and_prompts(f"{ROOT}/set") == [(10, "a mill"), (20, "-")]
    assert _levels_and_prompts(f"{ROOT}/set/*/*.png") == [(20, "-")]
    assert _levels_and_prompts(f"{ROOT}/one.tar") == [(30, "a boat"), (40, "-")]
    with pytest.raises(InputError, match="none"):
        find_items([f"{ROOT}/none"])


def test_tables_name_photographs_by_url_or_beside_themselves(
    store: ObjectStore, tmp_path: Path
) -> None:
    store.put("set/a.png", _png(10))
    rows = [
        {"image_path": f"{ROOT}/set/a.png", "prompt": "by url"},
        {"image_path": "a.png", "prompt": "beside"},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    store.put("set/table.jsonl", lines.encode())
    assert _levels_and_prompts(f"{ROOT}/set/table.jsonl") == [(10, "by url"), (10, "beside")]
    local = tmp_path / "table.jsonl"
    local.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    assert _levels_and_prompts(str(local)) == [(10, "by url")]


def test_training_reads_crops_from_a_store(store: ObjectStore) -> None:
    for level in (10, 20, 30, 40):
        store.put(f"set/{level}.png", _png(level))
    store.fault = lambda method, path, before: 500 if before == 0 and "20.png" in path else None
    config = DataConfig(sources=(f"{ROOT}/set",), crop_size=16, shuffle=False)
    batches = iter(make_loader(config, batch_size=2, seed=0))
    seen = [
        round(255 * float(image[0, 0, 0]))
        for batch in (next(batches), next(batches))
        for image in batch.images
    ]
    assert seen == [10, 20, 30, 40]


def test_captions_go_beside_images_in_a_store_and_tables_name_them_by_url(
    store: ObjectStore, tmp_path: Path
) -> None:
    for name, level in (("a", 10), ("deep/b", 20)):
        store.put(f"scans/{name}.png", _png(level))
    store.put("scans/a.txt", b"there before")
    source, fixed = f"{ROOT}/scans", ("--captioner", "fixed", "--text", "a mill")
    result = CliRunner().invoke(app, ["caption", source, *fixed])
    assert result.exit_code == 0, result.output
    assert "1 captioned, 1 had a prompt, 0 failed" in result.output
    content = store.content("scans")
    assert (content["a.txt"], content["deep/b.txt"]) == (b"there before", b"a mill\n")
    table = tmp_path / "table.jsonl"
    for expected in ("2 captioned, 0 had", "0 captioned, 2 had"):
        to = ("--to", "jsonl", "--out", str(table))
        result = CliRunner().invoke(app, ["caption", source, *fixed, *to])
        assert expected in result.output
    names = [json.loads(line)["image_path"] for line in table.read_text().splitlines()]
    assert names == [f"{source}/a.png", f"{source}/deep/b.png"]
    store.put("scans/broken.png", b"no picture")
    result = CliRunner().invoke(app, ["caption", source, *fixed, "--pre-restore"])
    assert result.exit_code == 1
    assert f"Failed: {source}/broken.png" in result.output
    assert "hypir-copies" not in result.output


def test_restored_images_in_a_store_are_scored_like_those_on_the_disk(
    store: ObjectStore, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        for place, level in (("gt", 100), ("out", 90)):
            picture = tmp_path / place / f"{name}.png"
            picture.parent.mkdir(exist_ok=True)
            picture.write_bytes(_png(level))
    gt, out = (store.put_folder(tmp_path / place, place) for place in ("gt", "out"))
    answers = []
    for restored, clean in ((out, gt), (tmp_path / "out", tmp_path / "gt")):
        report = tmp_path / "report.csv"
        arguments = ["eval", restored, "--gt", clean, "--metrics", "psnr", "--report", report]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        answers.append(report.read_text())
    assert answers[0] == answers[1]
