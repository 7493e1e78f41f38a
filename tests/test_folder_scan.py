"""Inputs become jobs: the right files, in natural order, with names that never collide or replace an input."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder import Job, Shard, make_jobs, parse_shard
from hypir_cli.folder.scan import natural_key


def _make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def _pairs(jobs: list[Job], inputs: Path, output: Path) -> dict[str, list[str]]:
    return {
        str(job.input_path.relative_to(inputs)): [
            str(path.relative_to(output)) for path in job.output_paths
        ]
        for job in jobs
    }


def test_a_folder_is_taken_with_its_tree(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.jpg", "b/c.png", "b/notes.txt", ".hidden.png", ".h/d.png")
    jobs = make_jobs([inputs], tmp_path / "out")
    assert _pairs(jobs, inputs, tmp_path / "out") == {"a.jpg": ["a.jpg"], "b/c.png": ["b/c.png"]}
    assert [job.relative_path for job in jobs] == [PurePath("a.jpg"), PurePath("b/c.png")]


def test_numbers_in_names_sort_as_numbers(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "img10.png", "img2.png", "Img1.png", "2.png", "b/1.png")
    jobs = make_jobs([inputs], tmp_path / "out")
    names = [str(job.relative_path) for job in jobs]
    assert names == ["2.png", "b/1.png", "Img1.png", "img2.png", "img10.png"]


def test_natural_keys_compare_across_kinds() -> None:
    paths = [PurePath(name) for name in ("a", "1", "a1", "1a", "a/1", "²", "")]
    assert sorted(paths, key=natural_key)


def test_one_file_to_a_file_name(tmp_path: Path) -> None:
    inputs = _make(tmp_path, "a.jpg")
    (job,) = make_jobs([inputs / "a.jpg"], tmp_path / "x" / "b.png")
    assert job.output_paths == (tmp_path / "x" / "b.png",)


@pytest.mark.parametrize("output", ["out", "out.d", "out.png/"])
def test_one_file_to_a_folder(tmp_path: Path, output: str) -> None:
    inputs = _make(tmp_path, "a.jpg")
    (job,) = make_jobs([inputs / "a.jpg"], f"{tmp_path}/{output}")
    assert job.output_paths == (tmp_path / output.rstrip("/") / "a.jpg",)


def test_a_file_name_cannot_take_several_inputs(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.jpg", "b.jpg")
    for given in ([inputs], [inputs / "a.jpg", inputs / "b.jpg"]):
        with pytest.raises(ConfigError, match="is a file name"):
            make_jobs(given, tmp_path / "b.png")


def test_an_output_that_is_some_other_file_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg", "taken")
    with pytest.raises(ConfigError, match="is a file"):
        make_jobs([tmp_path / "a.jpg"], tmp_path / "taken")


def test_a_format_that_contradicts_the_file_name_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, "a.jpg")
    with pytest.raises(ConfigError, match="does not end like"):
        make_jobs([tmp_path / "a.jpg"], tmp_path / "b.png", format="jpg")
    assert make_jobs([tmp_path / "a.jpg"], tmp_path / "b.jpeg", format="jpg")


def test_formats_that_cannot_be_written_become_png(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.gif", "b.bmp", "c.JPEG", "d.tif")
    jobs = make_jobs([inputs], tmp_path / "out")
    names = [path.name for job in jobs for path in job.output_paths]
    assert names == ["a.png", "b.png", "c.JPEG", "d.tif"]


def test_names_that_would_collide_are_told_apart_the_same_way_every_time(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.jpg", "a.png", "a.tif", "a-jpg.png", "x/a.jpg")
    first = make_jobs([inputs], tmp_path / "out", format="png")
    assert _pairs(first, inputs, tmp_path / "out") == {
        "a.jpg": ["a-jpg-2.png"],
        "a.png": ["a.png"],
        "a.tif": ["a-tif.png"],
        "a-jpg.png": ["a-jpg.png"],
        "x/a.jpg": ["x/a.png"],
    }
    again = make_jobs([inputs / "a.tif", inputs, inputs / "a.jpg"], tmp_path / "out", format="png")
    assert again == first


def test_several_folders_share_one_tree_without_loss(tmp_path: Path) -> None:
    one, two = _make(tmp_path / "1", "a.jpg"), _make(tmp_path / "2", "a.jpg", "b.jpg")
    jobs = make_jobs([one, two], tmp_path / "out")
    names = [path.name for job in jobs for path in job.output_paths]
    assert sorted(names) == ["a-jpg.jpg", "a.jpg", "b.jpg"]


def test_samples_are_numbered_and_never_collide(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.png", "a-1.png", "a-1-1.png")
    jobs = make_jobs([inputs], tmp_path / "out", num_samples=2, suffix="_r")
    paths = [path for job in jobs for path in job.output_paths]
    assert len(set(paths)) == 6
    assert tmp_path / "out" / "a_r-1.png" in paths


def test_a_result_never_replaces_an_input_unless_asked(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.png")
    with pytest.raises(InputError, match="would replace") as error:
        make_jobs([inputs], inputs)
    assert "--suffix" in error.value.hint
    assert make_jobs([inputs], inputs, overwrite_inputs=True)


def test_a_link_does_not_hide_that_an_input_would_be_replaced(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.png")
    (tmp_path / "link").symlink_to(inputs, target_is_directory=True)
    with pytest.raises(InputError, match="would replace"):
        make_jobs([inputs], tmp_path / "link")


def test_results_of_an_earlier_run_are_not_taken_for_inputs(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a.png", "b.png", "a_r.png", "a.compare.jpg", "out/a.png")
    beside = make_jobs([inputs], inputs, suffix="_r")
    assert [job.input_path.name for job in beside] == ["a.png", "b.png", "a.png"]
    below = make_jobs([inputs], inputs / "out", suffix="_r")
    assert [job.input_path.name for job in below] == ["a.png", "a_r.png", "b.png"]


def test_loops_of_links_end_and_real_folders_come_first(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "z/a.png")
    (inputs / "b").symlink_to(inputs / "z", target_is_directory=True)
    (inputs / "z" / "up").symlink_to(inputs, target_is_directory=True)
    (inputs / "dead.png").symlink_to(inputs / "nothing.png")
    jobs = make_jobs([inputs], tmp_path / "out")
    assert [str(job.relative_path) for job in jobs] == ["z/a.png"]


def test_linked_folders_elsewhere_are_entered_once(tmp_path: Path) -> None:
    other = _make(tmp_path / "other", "a.png")
    inputs = _make(tmp_path / "in", "b.png")
    for name in ("l1", "l2"):
        (inputs / name).symlink_to(other, target_is_directory=True)
    jobs = make_jobs([inputs], tmp_path / "out")
    assert [str(job.relative_path) for job in jobs] == ["b.png", "l1/a.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/*.jpg", ["a.jpg", "x/b.jpg", "x/y/c.jpg"]),
        ("x/**/*.jpg", ["b.jpg", "y/c.jpg"]),
        ("[x]/*", ["x/b.jpg", "x/y/c.jpg"]),
        ("**/y/*", ["x/y/c.jpg"]),
        ("a.???", ["a.jpg"]),
    ],
)
def test_patterns_are_resolved_and_keep_the_tree(
    tmp_path: Path, pattern: str, expected: list[str]
) -> None:
    inputs = _make(tmp_path / "in", "a.jpg", "a.txt", "x/b.jpg", "x/y/c.jpg", ".h/d.jpg")
    (inputs / "x" / "loop").symlink_to(inputs / "x", target_is_directory=True)
    jobs = make_jobs([f"{inputs}/{pattern}"], tmp_path / "out")
    assert [str(job.relative_path) for job in jobs] == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "a[1].png", "a1.png")
    (job,) = make_jobs([inputs / "a[1].png"], tmp_path / "out")
    assert job.input_path.name == "a[1].png"


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    inputs = _make(tmp_path / "in", "notes.txt")
    assert len(make_jobs([inputs / "notes.txt"], tmp_path / "out")) == 1


def test_nothing_found_is_an_error_that_names_the_input(tmp_path: Path) -> None:
    empty = _make(tmp_path / "in", "notes.txt")
    for given in (empty, empty / "*.png", empty / "**" / "*.png", empty / "none.png"):
        with pytest.raises(InputError, match="there is no") as error:
            make_jobs([given], tmp_path / "out")
        assert error.value.hint


def test_shards_together_hold_each_item_once() -> None:
    items = list(range(11))
    parts = [Shard(index, 3).take(items) for index in range(3)]
    assert parts[0] == [0, 3, 6, 9]
    assert sorted(item for part in parts for item in part) == items


def test_a_shard_is_written_from_1() -> None:
    assert parse_shard("2/3") == Shard(1, 3)
    assert parse_shard("2/3").report_path(Path("r.json")) == Path("r.2-of-3.json")
    assert Shard().report_path(Path("r.json")) == Path("r.json")
    for text in ("0/3", "4/3", "1", "a/b", "1/0", "-1/2"):
        with pytest.raises(ConfigError, match="--shard"):
            parse_shard(text)
