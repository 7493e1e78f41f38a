"""The same images by every route: one process, torchrun, a job array, a Ray cluster; and past killed processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.commands import contents, run
from tests.object_store import BUCKET, ObjectStore, object_store
from tests.pictures import PHOTOS

PHOTO = PHOTOS / "astronaut.jpg"
LONGEST = 600
"""Seconds after which a process that should have ended is taken for hung."""


def _pictures(folder: Path, count: int) -> Path:
    """Small cuts of a photograph, all different."""
    folder.mkdir()
    with Image.open(PHOTO) as photo:
        for index in range(count):
            left, top = 7 * (index % 20), 7 * (index // 20)
            photo.crop((left, top, left + 24, top + 16)).save(folder / f"{index}.png")
    return folder


def _command(*arguments: object, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-m", *(launcher or ("hypir_cli",)), *map(str, arguments)]


def _environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **(more or {})}


def _ended(
    command: list[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A process that has run to its end."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        env=_environment(environment),
        check=False,
    )


def _torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "hypir_cli")
    return _ended(_command(*arguments, launcher=launcher))


@contextlib.contextmanager
def _started(*arguments: object, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process of its own; whatever it started is gone at the end."""
    process = subprocess.Popen(
        _command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_environment(environment),
        start_new_session=True,
    )
    begun: list[psutil.Process] = []
    try:
        begun = psutil.Process(process.pid).children(recursive=True)
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            begun += psutil.Process(process.pid).children(recursive=True)
        for each in (*begun, psutil.Process(process.pid) if process.poll() is None else None):
            with contextlib.suppress(psutil.NoSuchProcess):
                if each is not None:
                    each.kill()
        process.communicate()


def _wait(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LONGEST
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.05)


def _descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _actors(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in _descendants(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ShardActor" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as server:
        yield server


@pytest.mark.slow
def test_every_route_makes_the_same_bytes_of_two_hundred_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _pictures(tmp_path / "in", 200)
    assert run("restore", source, tmp_path / "local").exit_code == 0
    expected = contents(tmp_path / "local")
    assert len(expected) == 200

    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    for task in range(2):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        result = run("restore", source, tmp_path / "array")
        assert result.exit_code == 0, result.output
        assert "100 restored." in result.output
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    assert contents(tmp_path / "array") == expected

    done = _torchrun("restore", source, tmp_path / "torchrun")
    assert done.returncode == 0, done.stderr
    assert "200 restored." in done.stdout
    assert contents(tmp_path / "torchrun") == expected

    manifest = tmp_path / "list.parquet"
    planned = run("plan", source, tmp_path / "ray", "--manifest", manifest, "--shards-of", 20)
    assert planned.exit_code == 0, planned.output
    report = tmp_path / "ray.json"
    options = ("--engine", "ray", "--actors", "2", "--report", report)
    done = _ended(_command("restore", manifest, *options))
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text())["summary"]["done"] == 200
    assert contents(tmp_path / "ray") == expected


@pytest.mark.slow
def test_the_first_rank_reports_for_all_and_fails_where_any_failed(tmp_path: Path) -> None:
    source = _pictures(tmp_path / "in", 4)
    (source / "1.png").write_bytes(b"no picture")  # the second rank's first image
    report = tmp_path / "report.json"
    done = _torchrun("restore", source, tmp_path / "out", "--report", report)
    assert done.returncode == 1
    assert "3 restored, 1 failed." in done.stdout
    assert set(contents(tmp_path / "out")) == {"0.png", "2.png", "3.png"}
    content = json.loads(report.read_text())
    assert content["summary"] == {"done": 3, "skipped": 0, "failed": 1, "planned": 0}
    names = [Path(image["input"]).name for image in content["images"]]
    assert names == ["0.png", "1.png", "2.png", "3.png"]
    assert (tmp_path / "report.2-of-2.json").exists()
    assert "torchrun: this process takes part 2 of 2" in done.stderr


@pytest.mark.slow
def test_a_killed_actor_a_killed_driver_and_a_stumbling_store_cost_no_image(
    store: ObjectStore, tmp_path: Path
) -> None:
    source = _pictures(tmp_path / "in", 60)
    assert run("restore", source, tmp_path / "local").exit_code == 0
    expected = contents(tmp_path / "local")
    url = store.put_folder(source, "in")
    output = f"s3://{BUCKET}/out"
    manifest = str(tmp_path / "list.parquet")
    for name, value in store.environment().items():
        os.environ[name] = value
    try:
        planned = run("plan", url, output, "--manifest", manifest, "--shards-of", 6)
        assert planned.exit_code == 0, planned.output

        def fault(method: str, path: str, before: int) -> int | float | None:
            if before == 0 and path.endswith(("3.png", "5.json")):
                return 500
            return 0.02

        store.requests.clear()
        store.fault = fault
        arguments = ("restore", manifest, "--engine", "ray", "--actors", "2")
        environment = store.environment()
        with _started(*arguments, environment=environment) as driver:
            _wait(lambda: len(store.count("PUT", "out")) >= 8, driver)
            actor = _actors(driver)[0]
            actor.send_signal(signal.SIGKILL)
            killed_at = len(store.count("PUT", "out"))
            _wait(lambda: len(store.count("PUT", "out")) >= killed_at + 20, driver)
            assert actor.pid not in [each.pid for each in _actors(driver)]
            cluster = _descendants(driver)
            driver.kill()
            driver.wait()
            for each in cluster:  # as a machine's end would
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        assert len(store.content("out")) < 60
        report = tmp_path / "report.json"
        done = _ended(_command(*arguments, "--report", report), environment)
        assert done.returncode == 0, done.stderr
        summary = json.loads(report.read_text())["summary"]
        assert summary["done"] + summary["skipped"] == 60
        assert summary["skipped"] >= killed_at
        assert store.content("out") == expected
        # Twice only what was on its way when a process was killed, or what the store refused at first.
        again = sum(number - 1 for name, number in store.count("PUT", "out").items())
        refused = sum(name.endswith("3.png") for name in expected)
        assert again <= refused + 2 * 4
    finally:
        for name in store.environment():
            os.environ.pop(name, None)


FATAL = """
import os, signal, sys
from functools import partial
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.scale import ClusterConfig
from hypir_cli.folder import Restored, ray_engine
from hypir_cli.folder.manifest_run import run_urls
from hypir_cli.restore.lazy_worker import LazyWorker


class Fatal(LazyWorker):
    def load(self):
        return self.restore

    def restore(self, image, job):
        if job.input_path.name == "1.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return Restored(samples=[image.pixels])

    def elsewhere(self):
        return partial(Fatal, self._config)


ray_engine.RETRIES = 1
cluster = ClusterConfig(engine="ray", cpus_per_actor=1)
report = run_urls([sys.argv[1]], None, worker=Fatal(RestoreConfig(cluster=cluster)))
print(report.to_json())
"""


@pytest.mark.slow
def test_an_image_that_kills_its_actor_every_time_does_not_hold_up_the_others(
    tmp_path: Path,
) -> None:
    source = _pictures(tmp_path / "in", 3)
    manifest = tmp_path / "list.parquet"
    planned = run("plan", source, tmp_path / "out", "--manifest", manifest, "--shards-of", 1)
    assert planned.exit_code == 0, planned.output
    done = _ended([sys.executable, "-c", FATAL, str(manifest)])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["summary"] == {"done": 2, "skipped": 0, "failed": 1, "planned": 0}
    assert report["images"][0]["input"] == f"{manifest} shard 1"
    assert "2 actors were lost" in report["images"][0]["reason"]
    assert set(contents(tmp_path / "out")) == {"0.png", "2.png"}
