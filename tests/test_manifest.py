"""A list of images is planned once and restored shard by shard, from folders and from a store, past every stumble."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from hypir_cli.config.restore import ControlConfig, OutputConfig, PromptConfig, RestoreConfig
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder import Job, Restored, RestoreOne, urls
from hypir_cli.folder.listing import output_folder, plan_rows
from hypir_cli.folder.manifest import Manifest, Plan, Row, write_manifest
from hypir_cli.folder.manifest_run import planned_by, run_urls
from hypir_cli.folder.shard_run import run_shard
from hypir_cli.folder.shard_state import ShardStates
from hypir_cli.images import ImageData, read_image
from hypir_cli.restore.folder import run_settings
from hypir_cli.restore.lazy_worker import LazyWorker
from tests.commands import run
from tests.object_store import BUCKET, ObjectStore, object_store
from tests.pictures import noise

ROOT = f"s3://{BUCKET}"


class Copier(LazyWorker):
    """Gives images back as they are, and counts them."""

    def __init__(self, config: RestoreConfig | None = None) -> None:
        super().__init__(config or RestoreConfig())
        self.restored: list[str] = []

    def load(self) -> RestoreOne:
        def restore(image: ImageData, job: Job) -> Restored:
            self.restored.append(job.input_name)
            return Restored(samples=[image.pixels] * len(job.output_paths))

        return restore


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


_numbers = itertools.count()


@pytest.fixture
def store(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The server, in good health, as this process's S3; waits between attempts are short."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(urls, "FIRST_WAIT", 0.01)
    server.fault = lambda method, path, before: None
    server.requests.clear()
    return server


@pytest.fixture
def prefix() -> str:
    """A part of the bucket for one test alone."""
    return f"test-{next(_numbers)}"


def _pictures(folder: Path, count: int, *, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(noise(8, 10, 3, seed=index)).save(folder / f"scan {index}{suffix}")
    return folder


def _planned(inputs: str, output: str, place: str, *, shards_of: int = 3) -> Manifest:
    plan = planned_by(run_settings(RestoreConfig()), [inputs], output)
    rows = plan_rows([inputs], output, plan=plan)
    return write_manifest(place, rows, plan=plan, shards_of=shards_of)


def test_a_local_manifest_names_the_results_of_a_local_run(tmp_path: Path) -> None:
    _pictures(tmp_path / "in" / "deep", 2)
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "in" / "deep" / "scan 0.bmp")
    manifest = _planned(
        str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "m.parquet"), shards_of=2
    )
    assert (manifest.num_images, manifest.num_shards, manifest.shard_size(1)) == (3, 2, 1)
    rows = manifest.shard(0) + manifest.shard(1)
    names = {Path(row.output_urls[0]).relative_to(tmp_path / "out").as_posix() for row in rows}
    assert names == {"deep/scan 0.png", "deep/scan 1.png", "deep/scan 0-bmp.png"}
    assert all(row.size > 0 and row.etag for row in rows)


def test_a_store_is_listed_in_natural_order_with_size_and_etag(
    store: ObjectStore, prefix: str
) -> None:
    for key in ("b/img10.jpg", "b/img2.jpg", "a.PNG", "a.compare.jpg", ".hidden/x.png", "note.txt"):
        store.put(f"{prefix}/in/{key}", b"12345")
    plan = Plan(output=f"{ROOT}/{prefix}/out", samples=2)
    rows = list(plan_rows([f"{ROOT}/{prefix}/in"], plan.output, plan=plan))
    assert [row.relative for row in rows] == ["a.PNG", "b/img2.jpg", "b/img10.jpg"]
    assert all(row.size == 5 and len(row.etag) == 32 for row in rows)
    assert rows[1].url == f"{ROOT}/{prefix}/in/b/img2.jpg"
    assert rows[1].output_urls == (
        f"{ROOT}/{prefix}/out/b/img2-1.jpg",
        f"{ROOT}/{prefix}/out/b/img2-2.jpg",
    )


def test_names_that_would_meet_in_a_store_are_kept_apart(store: ObjectStore, prefix: str) -> None:
    for key in ("x.png", "x.bmp", "x y#1?&%20.jpg"):
        store.put(f"{prefix}/in/{key}", b"1")
    plan = Plan(output=f"{ROOT}/{prefix}/out", samples=1)
    rows = list(plan_rows([f"{ROOT}/{prefix}/in/"], plan.output, plan=plan))
    names = {row.relative: row.output_urls[0].rpartition("/")[2] for row in rows}
    assert names == {"x.png": "x.png", "x.bmp": "x-bmp.png", "x y#1?&%20.jpg": "x y#1?&%20.jpg"}


def test_patterns_and_several_inputs_name_every_image_once(store: ObjectStore, prefix: str) -> None:
    for key in ("a/1.jpg", "a/2.png", "b/deep/1.jpg"):
        store.put(f"{prefix}/{key}", b"1")
    plan = Plan(output=f"{ROOT}/{prefix}/out", samples=1)
    base = f"{ROOT}/{prefix}"
    rows = list(plan_rows([f"{base}/**/*.jpg"], plan.output, plan=plan))
    assert [row.relative for row in rows] == ["a/1.jpg", "b/deep/1.jpg"]
    rows = list(plan_rows([f"{base}/a", f"{base}/b", f"{base}/a/1.jpg"], plan.output, plan=plan))
    assert [row.url.removeprefix(f"{base}/") for row in rows] == [
        "a/1.jpg",
        "a/2.png",
        "b/deep/1.jpg",
    ]
    assert len({row.output_urls for row in rows}) == 3


def test_results_below_the_input_are_not_inputs_and_never_replace_them(
    store: ObjectStore, prefix: str
) -> None:
    base = f"{ROOT}/{prefix}"
    for key in ("1.jpg", "out/1.jpg", "2_new.jpg", "2.jpg"):
        store.put(f"{prefix}/{key}", b"1")
    plan = Plan(output=f"{base}/out", samples=1)
    rows = list(plan_rows([base], plan.output, plan=plan))
    assert [row.relative for row in rows] == ["1.jpg", "2.jpg", "2_new.jpg"]
    same = Plan(output=base, samples=1)
    with pytest.raises(InputError, match="would replace it"):
        list(plan_rows([base], base, plan=same))
    named = Plan(output=base, samples=1, suffix="_new")
    again = [row.relative for row in plan_rows([base], base, plan=named)]
    assert again == ["1.jpg", "2.jpg", "out/1.jpg"]


def test_an_empty_or_missing_place_is_an_error_that_names_it(
    store: ObjectStore, prefix: str
) -> None:
    store.put(f"{prefix}/note.txt", b"1")
    for place in (f"{ROOT}/{prefix}", f"{ROOT}/{prefix}/none", "s3://no-such-bucket-here/x"):
        with pytest.raises(InputError, match=place):
            list(plan_rows([place], f"{ROOT}/out", plan=Plan(output=f"{ROOT}/out", samples=1)))
    with pytest.raises(InputError, match="carrier-pigeon"):
        urls.filesystem("carrier-pigeon://x")
    with pytest.raises(ConfigError, match="gs://") as caught:
        urls.filesystem("gs://x/y")
    assert "gcsfs" in caught.value.hint


def test_one_url_may_become_one_file(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    picture = _pictures(tmp_path / "in", 1) / "scan 0.png"
    store.put(f"{prefix}/a.png", picture.read_bytes())
    report = run_urls([f"{ROOT}/{prefix}/a.png"], str(tmp_path / "b.png"), worker=Copier())
    assert report.count("done") == 1
    assert (read_image(tmp_path / "b.png").pixels == read_image(picture).pixels).all()
    assert output_folder(["s3://x/a.png"], "s3://x/out/b.png") == "s3://x/out"
    with pytest.raises(ConfigError, match="is a file name"):
        output_folder(["s3://x/a"], "s3://x/out/b.png")


def test_a_store_to_a_store_is_the_same_as_a_folder_to_a_folder(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 4), f"{prefix}/in")
    run_urls([str(tmp_path / "in")], str(tmp_path / "out"), worker=Copier())
    report = run_urls([source], f"{ROOT}/{prefix}/out", worker=Copier())
    local = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert store.content(f"{prefix}/out") == local
    assert report.records[0].input == f"{source}/scan 0.png"
    assert report.records[0].outputs == (f"{ROOT}/{prefix}/out/scan 0.png",)
    assert set(store.count("PUT", f"{prefix}/out").values()) == {1}


def test_a_shard_is_restored_once_and_a_rerun_asks_for_no_result(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 7), f"{prefix}/in")
    manifest = _planned(source, f"{ROOT}/{prefix}/out", f"{ROOT}/{prefix}/list.parquet")
    first, second = Copier(), Copier()
    report = run_urls([manifest.place], None, worker=first)
    assert (report.count("done"), len(first.restored)) == (7, 7)
    store.requests.clear()
    report = run_urls([manifest.place], None, worker=second)
    assert (report.count("skipped"), report.count("done"), second.restored) == (7, 0, [])
    assert not store.count("GET", f"{prefix}/out") + store.count("HEAD", f"{prefix}/out")
    assert not store.count("GET", f"{prefix}/in")
    listings = store.requests["GET", f"/{BUCKET}"]
    assert listings <= 2
    assert run_shard(manifest, 2, worker=second).skipped == 1


def test_failed_images_alone_are_done_again(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 3), f"{prefix}/in")
    good = (tmp_path / "in" / "scan 1.png").read_bytes()
    store.put(f"{prefix}/in/scan 1.png", good[:40] + bytes(len(good) - 40))
    manifest = _planned(source, f"{ROOT}/{prefix}/out", str(tmp_path / "list.parquet"))
    report = run_urls([manifest.place], None, worker=Copier())
    assert (report.count("done"), report.count("failed")) == (2, 1)
    assert report.failed[0].input == f"{source}/scan 1.png"
    assert f"{source}/scan 1.png" in report.failed[0].reason
    assert "hypir-staging" not in report.to_json()
    assert ShardStates(manifest).finished() == set()
    state = json.loads(urls.read_bytes(f"{manifest.state_folder}/000000.json") or b"")
    entry = next(image for image in state["images"] if image["status"] == "failed")
    assert entry["reason"] == report.failed[0].reason
    store.put(f"{prefix}/in/scan 1.png", good)
    again = Copier()
    store.requests.clear()
    report = run_urls([manifest.place], None, worker=again)
    assert again.restored == [f"{source}/scan 1.png"]
    assert (report.count("done"), report.count("skipped"), report.count("failed")) == (1, 2, 0)
    assert store.count("PUT", f"{prefix}/out") == {"scan 1.png": 1}
    assert ShardStates(manifest).finished() == {0}


def test_a_shard_that_was_cut_short_is_taken_up_where_its_results_end(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 5), f"{prefix}/in")
    manifest = _planned(source, f"{ROOT}/{prefix}/out", str(tmp_path / "list.parquet"), shards_of=5)

    class Killed(Copier):
        def load(self) -> RestoreOne:
            inner = super().load()

            def restore(image: ImageData, job: Job) -> Restored:
                if len(self.restored) == 3:
                    raise KeyboardInterrupt
                return inner(image, job)

            return restore

    with pytest.raises(KeyboardInterrupt):
        run_shard(manifest, 0, worker=Killed())
    there = set(store.content(f"{prefix}/out"))
    assert len(there) == 3
    again = Copier()
    result = run_shard(manifest, 0, worker=again)
    assert (result.done, result.skipped) == (2, 3)
    assert set(store.count("PUT", f"{prefix}/out").values()) == {1}


def test_errors_and_slow_answers_of_a_store_cost_no_image(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 6), f"{prefix}/in")
    manifest = _planned(source, f"{ROOT}/{prefix}/out", str(tmp_path / "list.parquet"))

    def fault(method: str, path: str, before: int) -> int | float | None:
        if f"/{prefix}/" not in path:
            return None
        if before == 0:
            return 500 if method == "GET" else 503
        return 0.05

    store.fault = fault
    report = run_urls([manifest.place], None, worker=Copier())
    assert (report.count("done"), report.count("failed")) == (6, 0)
    assert len(store.content(f"{prefix}/out")) == 6


def test_a_store_that_stays_broken_fails_its_images_and_a_rerun_mends_them(
    store: ObjectStore, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 4), f"{prefix}/in")
    manifest = _planned(source, f"{ROOT}/{prefix}/out", str(tmp_path / "list.parquet"), shards_of=2)
    monkeypatch.setattr(urls, "ATTEMPTS", 2)

    def fault(method: str, path: str, before: int) -> int | None:
        broken = path.endswith(("/out/scan 0.png", "000001.json"))
        return 403 if broken and method == "PUT" else None

    store.fault = fault
    report = run_urls([manifest.place], None, worker=Copier())
    reasons = {record.input: record.reason for record in report.failed}
    assert set(reasons) == {f"{source}/scan 0.png", f"{manifest.place} shard 1"}
    assert f"{ROOT}/{prefix}/out/scan 0.png" in reasons[f"{source}/scan 0.png"]
    store.fault = lambda method, path, before: None
    again = Copier()
    report = run_urls([manifest.place], None, worker=again)
    assert again.restored == [f"{source}/scan 0.png"]
    assert report.count("failed") == 0
    assert len(store.content(f"{prefix}/out")) == 4


def test_an_input_that_changed_since_the_plan_is_told(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 1), f"{prefix}/in")
    manifest = _planned(source, f"{ROOT}/{prefix}/out", str(tmp_path / "list.parquet"))
    store.put(f"{prefix}/in/scan 0.png", b"cut short")
    report = run_urls([manifest.place], None, worker=Copier())
    assert "that were planned" in report.failed[0].reason
    assert "hypir plan" in report.failed[0].hint


def test_an_upload_that_ends_halfway_leaves_no_object(
    store: ObjectStore, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls, "ATTEMPTS", 1)
    large = tmp_path / "large.bin"
    large.write_bytes(bytes(101 * 2**20))
    parts = itertools.count()
    store.fault = lambda method, path, before: (
        403 if method == "PUT" and path.endswith("large.bin") and next(parts) > 0 else None
    )
    with pytest.raises(InputError, match=r"large\.bin"):
        urls.upload(large, f"{ROOT}/{prefix}/large.bin")
    store.fault = lambda method, path, before: None
    assert not urls.exists(f"{ROOT}/{prefix}/large.bin")


def test_overwriting_restores_everything_again_and_error_refuses(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 2), f"{prefix}/in")
    output = f"{ROOT}/{prefix}/out"
    manifest = _planned(source, output, str(tmp_path / "list.parquet"))
    run_urls([manifest.place], None, worker=Copier())
    again = Copier(RestoreConfig(output=OutputConfig(existing="overwrite")))
    run_urls([manifest.place], None, worker=again)
    assert len(again.restored) == 2
    strict = Copier(RestoreConfig(output=OutputConfig(existing="error")))
    with pytest.raises(ConfigError, match="done already"):
        run_urls([manifest.place], None, worker=strict)
    with pytest.raises(ConfigError, match="there already"):
        run_urls([source], output, worker=strict)


def test_settings_that_contradict_a_manifest_are_refused(tmp_path: Path) -> None:
    _pictures(tmp_path / "in", 1)
    manifest = _planned(str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "list.parquet"))
    wrong = RestoreConfig(control=ControlConfig(samples=2))
    with pytest.raises(ConfigError, match="samples 1, not 2"):
        run_urls([manifest.place], None, worker=Copier(wrong))
    with pytest.raises(ConfigError, match="not elsewhere"):
        run_urls([manifest.place], "elsewhere", worker=Copier())
    with pytest.raises(InputError, match="is no manifest"):
        run_urls([str(tmp_path / "none.parquet")], None, worker=Copier())


def test_parts_of_a_manifest_are_dealt_out_by_shard(tmp_path: Path) -> None:
    from hypir_cli.folder import Shard

    _pictures(tmp_path / "in", 5)
    manifest = _planned(
        str(tmp_path / "in"), str(tmp_path / "out"), str(tmp_path / "list.parquet"), shards_of=1
    )
    workers = [Copier(), Copier()]
    for index, worker in enumerate(workers):
        run_urls([manifest.place], None, worker=worker, shard=Shard(index, 2))
    assert [len(worker.restored) for worker in workers] == [3, 2]
    assert len(set(workers[0].restored + workers[1].restored)) == 5


def test_prompts_beside_images_and_pictures_beside_results_travel_too(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 2), f"{prefix}/in")
    store.put(f"{prefix}/in/scan 0.txt", b"a lighthouse")
    config = RestoreConfig(
        prompt=PromptConfig(caption="sidecar"), output=OutputConfig(compare="side")
    )
    seen: list[str] = []

    class Reader(Copier):
        def load(self) -> RestoreOne:
            inner = super().load()

            def restore(image: ImageData, job: Job) -> Restored:
                beside = job.input_path.with_suffix(".txt")
                seen.append(beside.read_text() if beside.exists() else "")
                return inner(image, job)

            return restore

    run_urls([source], f"{ROOT}/{prefix}/out", worker=Reader(config))
    assert seen == ["a lighthouse", ""]
    assert "scan 0.compare.jpg" in store.content(f"{prefix}/out")


def test_a_plan_of_rows_is_read_back_shard_by_shard(tmp_path: Path) -> None:
    rows = [
        Row(
            url=f"s3://x/{n}.png",
            size=n,
            etag="",
            relative=f"{n}.png",
            output_urls=(f"s3://y/{n}",),
        )
        for n in range(5)
    ]
    plan = Plan(output="s3://y", samples=1)
    manifest = write_manifest(str(tmp_path / "m.parquet"), rows, plan=plan, shards_of=2)
    assert [manifest.shard(index) for index in range(3)] == [rows[:2], rows[2:4], rows[4:]]
    other = write_manifest(
        str(tmp_path / "n.parquet"), [replace(rows[0], etag="new")], plan=plan, shards_of=2
    )
    assert other.id != manifest.id
    with pytest.raises(InputError, match="no image"):
        write_manifest(str(tmp_path / "e.parquet"), [], plan=plan, shards_of=2)
    with pytest.raises(ConfigError, match="does not end in"):
        write_manifest(str(tmp_path / "e.csv"), rows, plan=plan, shards_of=2)


def test_plan_prints_what_it_found_and_a_dry_run_counts_it(tmp_path: Path) -> None:
    _pictures(tmp_path / "in", 3)
    place = tmp_path / "list.parquet"
    result = run("plan", tmp_path / "in", tmp_path / "out", "--manifest", place, "--shards-of", 2)
    assert result.exit_code == 0, result.output
    assert "3 images in 2 shards" in result.output
    result = run("restore", place, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "3 to restore, 0 already there." in result.output
    assert not (tmp_path / "out").exists()
    result = run("restore", f"file://{tmp_path}/in", tmp_path / "out", "--dry-run")
    assert "scan 0.png ->" in result.output


def test_an_image_costs_a_store_two_reads_and_one_write(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    source = store.put_folder(_pictures(tmp_path / "in", 20), f"{prefix}/in")
    manifest = _planned(
        source, f"{ROOT}/{prefix}/out", f"{ROOT}/{prefix}/list.parquet", shards_of=10
    )
    store.requests.clear()
    run_urls([manifest.place], None, worker=Copier())
    reads = store.count("GET", prefix, hidden=True)
    assert sum(reads[f"in/scan {index}.png"] for index in range(20)) == 20
    assert sum(reads[f"out/scan {index}.png"] for index in range(20)) == 20
    looks = reads + store.count("HEAD", prefix, hidden=True)
    assert sum(number for name, number in looks.items() if ".hypir" in name) == 4
    writes = store.count("PUT", prefix, hidden=True)
    assert sum(writes.values()) == 20 + 4
    assert not store.count("HEAD", f"{prefix}/in") + store.count("HEAD", f"{prefix}/out")
