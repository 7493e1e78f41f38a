"""A list of images is restored past single failures, in bounded memory, once each, and reported."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hypir_cli.errors import ConfigError, HypirError, InputError
from hypir_cli.folder import Event, Job, Restored, Shard, make_jobs, pipeline, run_folder
from hypir_cli.images import ImageData, read_image
from tests.pictures import exif_block, gradient, noise, parsed


def _identity(image: ImageData, job: Job) -> Restored:
    samples = [image.pixels] * len(job.output_paths)
    return Restored(samples=samples, details={"prompt": "a photograph", "seed": 231})


def _folder(path: Path, count: int, *, size: tuple[int, int] = (12, 16)) -> Path:
    path.mkdir()
    for index in range(count):
        Image.fromarray(noise(*size, 3, seed=index)).save(path / f"{index}.png")
    return path


def _jobs(path: Path, count: int = 3, **options: int) -> list[Job]:
    return make_jobs([_folder(path / "in", count)], path / "out", **options)  # type: ignore[arg-type]


def test_every_image_is_restored_and_reported(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    events: list[Event] = []
    report = run_folder(
        jobs,
        _identity,
        report_path=tmp_path / "report.json",
        settings={"seed": 231, "dir": tmp_path},
        on_event=events.append,
    )
    assert [record.status for record in report.records] == ["done"] * 3
    for index in range(3):
        pixels = read_image(tmp_path / "out" / f"{index}.png").pixels
        assert np.array_equal(pixels, noise(12, 16, 3, seed=index))
    assert sorted(event.kind for event in events) == ["done"] * 3 + ["started"] * 3
    assert (events[-1].finished, events[-1].total) == (3, 3)
    content = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert content["summary"] == {"done": 3, "skipped": 0, "failed": 0, "planned": 0}
    assert content["settings"] == {"seed": 231, "dir": str(tmp_path)}
    entry = content["images"][0]
    assert entry["input"].endswith("0.png")
    assert entry["outputs"] == [str(tmp_path / "out" / "0.png")]
    assert entry["details"] == {"prompt": "a photograph", "seed": 231}
    assert set(entry["seconds"]) == {"read", "compute", "write"}
    assert entry["input_size"] == entry["output_size"] == [12, 16]


def test_a_second_run_does_only_what_is_missing(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    run_folder(jobs[:2], _identity)
    done: list[str] = []

    def restore(image: ImageData, job: Job) -> Restored:
        done.append(job.input_path.name)
        return _identity(image, job)

    report = run_folder(jobs, restore)
    assert done == ["2.png"]
    assert [record.status for record in report.records] == ["skipped", "skipped", "done"]


def test_only_missing_samples_are_written(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 1, num_samples=3)
    run_folder(jobs, _identity)
    kept = jobs[0].output_paths[0].stat().st_ino
    jobs[0].output_paths[1].unlink()
    run_folder(jobs, _identity)
    assert jobs[0].output_paths[0].stat().st_ino == kept
    assert all(path.is_file() for path in jobs[0].output_paths)


def test_overwrite_does_everything_again(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 1)
    for value in (10, 20):
        run_folder(
            jobs,
            lambda image, job, value=value: Restored(samples=[image.pixels * 0 + value]),
            existing="overwrite",
        )
        assert np.all(read_image(jobs[0].output_paths[0]).pixels == value)


def test_error_refuses_to_start_when_a_result_is_there(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    run_folder(jobs[1:2], _identity)
    with pytest.raises(ConfigError, match=r"1 result.*1\.png"):
        run_folder(jobs, _identity, existing="error")
    assert not jobs[0].output_paths[0].exists()


def test_a_failing_image_is_recorded_and_the_rest_go_on(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    (tmp_path / "in" / "0.png").write_bytes(b"not an image")

    def restore(image: ImageData, job: Job) -> Restored:
        if job.input_path.name == "1.png":
            raise HypirError("the prompt is missing.", hint="write one")
        return _identity(image, job)

    report = run_folder(jobs, restore)
    assert [record.status for record in report.records] == ["failed", "failed", "done"]
    assert "0.png" in report.failed[0].reason
    assert (report.failed[1].reason, report.failed[1].hint) == (
        "the prompt is missing.",
        "write one",
    )


def test_an_interrupt_keeps_what_is_finished_and_is_passed_on(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 5)

    def restore(image: ImageData, job: Job) -> Restored:
        if job.input_path.name == "3.png":
            raise KeyboardInterrupt
        return _identity(image, job)

    with pytest.raises(KeyboardInterrupt):
        run_folder(jobs, restore, report_path=tmp_path / "r.json")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "0.png",
        "1.png",
        "2.png",
    ]
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["interrupted"] is True
    assert content["summary"]["done"] == 3


def test_a_dry_run_writes_no_image(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path)
    run_folder(jobs[:1], _identity)
    report = run_folder(jobs, None)
    assert [record.status for record in report.records] == ["skipped", "planned", "planned"]
    assert not jobs[1].output_paths[0].exists()


def test_shards_do_each_image_once_and_report_apart(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 5)
    done: list[str] = []

    def restore(image: ImageData, job: Job) -> Restored:
        done.append(job.input_path.name)
        return _identity(image, job)

    for index in range(2):
        run_folder(jobs, restore, shard=Shard(index, 2), report_path=tmp_path / "r.json")
    assert sorted(done) == [f"{index}.png" for index in range(5)]
    assert json.loads((tmp_path / "r.2-of-2.json").read_text())["summary"]["done"] == 2


def test_reading_and_writing_overlap_with_computing(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 3)
    read = {job.input_path: threading.Event() for job in jobs}
    original = pipeline.read_image

    def spy(path: Path, **options: Any) -> ImageData:
        image = original(path, **options)
        read[path].set()
        return image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "read_image", spy)

        def restore(image: ImageData, job: Job) -> Restored:
            assert read[jobs[-1].input_path].wait(20), "the last image is read during the first"
            return _identity(image, job)

        assert run_folder(jobs, restore).count("done") == 3


@pytest.mark.parametrize(("budget", "expected"), [(1, 1), (2 * 12 * 16, 2)])
def test_pixels_in_flight_stay_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int, expected: int
) -> None:
    jobs = _jobs(tmp_path, 6)
    lock, held, most = threading.Lock(), 0, 0
    original_read, original_save = pipeline.read_image, pipeline.save_samples

    def read(path: Path, **options: Any) -> ImageData:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return original_read(path, **options)

    def save(*args: object, **options: object) -> list[str]:
        nonlocal held
        notes = original_save(*args, **options)  # type: ignore[arg-type]
        with lock:
            held -= 1
        return notes

    monkeypatch.setattr(pipeline, "PIXELS_IN_FLIGHT", budget)
    monkeypatch.setattr(pipeline, "read_image", read)
    monkeypatch.setattr(pipeline, "save_samples", save)
    assert run_folder(jobs, _identity, num_jobs=4).count("done") == 6
    assert most <= expected


def test_larger_results_count_in_the_budget(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def output_pixels(height: int, width: int) -> int:
        asked.append((height, width))
        return 16 * height * width

    run_folder(_jobs(tmp_path, 2), _identity, output_pixels=output_pixels)
    assert asked == [(12, 16), (12, 16)]


def test_input_pixels_are_freed_once_computed(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 2)
    alive: list[np.ndarray] = []

    def save(source: object, *args: object, **options: object) -> list[str]:
        assert getattr(source, "pixels", "missing") is None
        alive.append(np.empty(0))
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "save_samples", save)
        run_folder(jobs, lambda image, job: Restored(samples=[image.pixels.copy()]))
    assert len(alive) == 2


def test_alpha_is_scaled_to_the_result(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    alpha = np.zeros((10, 20), dtype=np.uint8)
    alpha[:, 10:] = 255
    Image.merge("LA", (Image.fromarray(noise(10, 20)), Image.fromarray(alpha))).save(
        tmp_path / "in" / "a.png"
    )
    jobs = make_jobs([tmp_path / "in"], tmp_path / "out")
    run_folder(
        jobs,
        lambda image, job: Restored(samples=[image.pixels.repeat(3, axis=0).repeat(3, axis=1)]),
    )
    result = read_image(tmp_path / "out" / "a.png")
    assert result.is_grey
    assert result.alpha is not None
    assert result.alpha.shape == (30, 60)
    assert result.alpha[:, :24].max() == 0
    assert result.alpha[:, 36:].min() == 255


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_takes_the_depth_of_the_result(tmp_path: Path, dtype: type) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(5, 5, 4)).save(tmp_path / "in" / "a.png")
    jobs = make_jobs([tmp_path / "in"], tmp_path / "out")
    run_folder(jobs, lambda image, job: Restored(samples=[np.zeros((5, 5, 3), dtype=dtype)]))
    result = read_image(tmp_path / "out" / "a.png")
    assert result.alpha is not None
    assert result.alpha.dtype == dtype
    scale = 1 if dtype == np.uint8 else 257
    assert np.array_equal(result.alpha, noise(5, 5, 4)[..., 3].astype(dtype) * scale)


@pytest.mark.parametrize("keep", [True, False])
def test_metadata_is_carried_over_or_stripped(tmp_path: Path, keep: bool) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(gradient(8, 8)).save(tmp_path / "in" / "a.jpg", exif=exif_block(orientation=6))
    jobs = make_jobs([tmp_path / "in"], tmp_path / "out", format="tiff")
    run_folder(jobs, _identity, keep_metadata=keep)
    exif = parsed(read_image(tmp_path / "out" / "a.tiff").metadata.exif)
    assert exif["make"] == ("Testcam" if keep else None)


def test_notes_of_reading_and_writing_are_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    frames = [Image.fromarray(noise(9, 9, seed=index)) for index in range(2)]
    frames[0].save(
        tmp_path / "in" / "a.gif", save_all=True, append_images=frames[1:], transparency=7
    )
    jobs = make_jobs([tmp_path / "in"], tmp_path / "out", format="jpg")
    (record,) = run_folder(jobs, _identity).records
    assert any("animation" in note for note in record.notes)
    assert any("white" in note for note in record.notes)


def test_a_side_by_side_picture_stands_next_to_the_result(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 1)
    run_folder(
        jobs, lambda image, job: Restored(samples=[np.zeros((24, 32, 3), np.uint8)]), compare=True
    )
    picture = read_image(tmp_path / "out" / "0.compare.jpg").pixels
    assert picture.shape == (24, 2 * 32 + 8, 3)
    assert picture[:, 48:].max() < 10
    assert picture[:, :24].std() > 20
    assert picture[:, 36].min() > 200


def test_a_report_that_cannot_be_written_is_an_error_after_the_work(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, 1)
    with pytest.raises(InputError, match=r"r\.json"):
        run_folder(jobs, _identity, report_path=tmp_path / "in" / "0.png" / "r.json")
    assert jobs[0].output_paths[0].is_file()


def test_what_a_listener_raises_comes_out(tmp_path: Path) -> None:
    def listener(event: Event) -> None:
        if event.kind == "done":
            raise RuntimeError("no terminal")

    with pytest.raises(RuntimeError, match="no terminal"):
        run_folder(_jobs(tmp_path), _identity, on_event=listener)
