"""Where training photographs and prompts come from."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder.sidecar import find_sidecar, read_sidecar
from hypir_cli.train.data.photos import PhotoCache, read_photo
from hypir_cli.train.data.sources import Blob, Item, find_items, read_prompt


def image_bytes(level: int = 100, *, kind: str = "PNG", size: tuple[int, int] = (24, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(file, kind)
    return file.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as shard:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    return path


def prompts(items: list[Item]) -> list[str]:
    return [read_prompt(item, default="default") for item in items]


def test_a_folder_is_searched_to_the_bottom_in_a_fixed_order_with_its_sidecars(
    tmp_path: Path,
) -> None:
    for name in ("b.png", "a.JPG", "deep/er/c.webp", ".hidden.png", "notes.md"):
        write(tmp_path / name, image_bytes())
    (tmp_path / "b.txt").write_text("une mésange\n", encoding="utf-8")
    (items,) = find_items([str(tmp_path)])
    assert [item.image.path.name for item in items] == ["a.JPG", "b.png", "c.webp"]
    assert prompts(items) == ["default", "une mésange", "default"]


def test_training_reads_the_same_sidecars_as_restoring(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.v2.png", "c.webp"):
        write(tmp_path / name, image_bytes())
    (tmp_path / "a.txt").write_text("any a", encoding="utf-8")
    (tmp_path / "a.png.txt").write_text("the png", encoding="utf-8")
    (tmp_path / "b.v2.png.txt").write_text("\ufefftwo\r\n lines\n", encoding="utf-8")
    (items,) = find_items([str(tmp_path)])
    assert prompts(items) == ["any a", "the png", "two lines", "default"]
    found = [find_sidecar(item.image.path) for item in items]
    assert [read_sidecar(path) if path else "default" for path in found] == prompts(items)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_tables_relative_paths_start_at_the_table(tmp_path: Path, kind: str) -> None:
    rows = [
        {"image_path": "pictures/a.png", "prompt": "a red boat"},
        {"image_path": str(tmp_path / "elsewhere.png"), "prompt": ""},
    ]
    table = tmp_path / f"table.{kind}"
    if kind == "jsonl":
        table.write_text("\n\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    (items,) = find_items([str(table)])
    assert [item.image.path for item in items] == [
        tmp_path / "pictures" / "a.png",
        tmp_path / "elsewhere.png",
    ]
    assert prompts(items) == ["a red boat", "default"]


def test_shards_are_indexed_by_member_and_read_by_position(tmp_path: Path) -> None:
    picture, other = image_bytes(10), image_bytes(200, kind="JPEG")
    write_shard(
        tmp_path / "s-000.tar",
        {
            "d/0001.jpg": other,
            "d/0001.json": json.dumps({"caption": "from json"}).encode(),
            "d/0002.txt": b"from text",
            "d/0002.png": picture,
            "d/0003.txt": b"no image",
            "d/0004.jpg": other,
            "d/0004.jpg.txt": b"from a whole name",
        },
    )
    write_shard(tmp_path / "s-001.tar", {"0001.png": picture})
    first, second = find_items([str(tmp_path / "s-*.tar")])
    assert prompts(first) == ["from json", "from text", "from a whole name"]
    assert [item.image.read() for item in first] == [other, picture, other]
    assert first[1].image.name.endswith("s-000.tar:d/0002.png")
    assert second[0].image.read() == picture


def test_sources_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write(tmp_path / "broken.tar", b"no tar at all" * 100)
    write(tmp_path / "list.csv", b"a,b")
    write(tmp_path / "bad.jsonl", b'{"image_path": "a.png", "prompt": ""}\nnot json\n')
    write(tmp_path / "columns.jsonl", b'{"file": "a.png"}\n')
    write(tmp_path / "broken.parquet", b"PAR1 not really")
    (tmp_path / "empty").mkdir()
    for source, error, named in (
        ("broken.tar", InputError, "broken.tar"),
        ("list.csv", ConfigError, "list.csv"),
        ("bad.jsonl", InputError, "bad.jsonl line 2"),
        ("columns.jsonl", InputError, "image_path"),
        ("broken.parquet", InputError, "broken.parquet"),
        ("empty", InputError, "no photographs"),
        ("missing", InputError, "missing"),
    ):
        with pytest.raises(error, match=named):
            find_items([str(tmp_path / source)])
    with pytest.raises(InputError, match="none given"):
        find_items([])


def test_a_broken_prompt_is_an_error_that_names_it(tmp_path: Path) -> None:
    for name, content in (("p.json", b"[1]"), ("q.txt", b"\xff\xfe\xfa"), ("r.json", b"{")):
        path = write(tmp_path / name, content)
        with pytest.raises(InputError, match=name):
            read_prompt(Item(Blob(tmp_path / "a.png"), Blob(path)), default="")
    with pytest.raises(InputError, match="gone"):
        read_prompt(Item(Blob(tmp_path / "a.png"), Blob(tmp_path / "gone.txt")), default="")


def test_photos_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (40, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert read_photo(tmp_path / "turned.jpg", name="turned").shape == (40, 20, 3)


def test_sixteen_bits_and_transparency_become_eight_bits_on_white(tmp_path: Path) -> None:
    deep = np.full((4, 5), 32896, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_photo(tmp_path / "deep.png", name="deep")[0, 0].tolist() == [128, 128, 128]
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_photo(tmp_path / "clear.png", name="clear")[0, 0].tolist() == [255, 255, 255]
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(InputError, match="no known white"):
        read_photo(tmp_path / "float.tiff", name="float")


def test_shrinking_keeps_the_shape_and_never_enlarges(tmp_path: Path) -> None:
    Image.new("RGB", (900, 600)).save(tmp_path / "big.jpg")
    assert read_photo(tmp_path / "big.jpg", name="", short_side=64).shape == (64, 96, 3)
    small = image_bytes(size=(30, 20))
    assert read_photo(small, name="", short_side=64).shape == (20, 30, 3)


def test_the_cache_keeps_what_fits_and_drops_what_was_used_longest_ago() -> None:
    loads: list[int] = []

    def load(number: int) -> np.ndarray:
        loads.append(number)
        return np.zeros((10, 10, 1), dtype=np.uint8)

    cache = PhotoCache(200)
    for number in (1, 2, 1, 3, 1, 2):
        cache.get(number, load)
    assert loads == [1, 2, 3, 2]
    nothing = PhotoCache(0)
    nothing.get(1, load)
    nothing.get(1, load)
    assert loads[-2:] == [1, 1]
