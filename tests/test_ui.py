"""The page without a browser: what it may touch, who may talk to it, which settings and command its controls make."""

from __future__ import annotations

import base64
import json
import os
import shlex
import threading
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hypir_cli.cli.app import app
from hypir_cli.config.restore import RestoreConfig
from hypir_cli.config.restore_preset import RESTORE_PRESETS, restore_preset
from hypir_cli.config.schema import resolve
from hypir_cli.config.ui import UiConfig
from hypir_cli.errors import ConfigError, InputError
from hypir_cli.folder.pages import ComparisonRow
from hypir_cli.ui.access import Access
from hypir_cli.ui.controls import CONTROLS, NO_PRESET, command_line, preset_values, settings
from hypir_cli.ui.desk import Desk, Studio
from hypir_cli.ui.engines import EngineCache
from hypir_cli.ui.gallery import FolderRun, past_runs, read_report, report_pairs, run_folder_task
from hypir_cli.ui.guard import Guard
from hypir_cli.ui.server import hand_out
from hypir_cli.ui.shelf import Shelf, Shown
from hypir_cli.ui.uploads import Uploads
from hypir_cli.ui.words import status_html, viewer_html
from hypir_cli.ui.worker import Cancelled, Task, Worker

SHOWN = preset_values(NO_PRESET)


def test_paths_outside_the_named_folders_are_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    access = Access([inside])
    assert access.path("a/b.png") == inside / "a" / "b.png"
    assert access.path(f'"{inside}/x"') == inside / "x"
    for text in (str(outside), "../out/x", "link/secret.png", "~/x", "/etc/passwd", "a\0b", " "):
        with pytest.raises(InputError):
            access.path(text)
    with pytest.raises(InputError, match="does not exist"):
        access.existing("missing.png")
    with pytest.raises(InputError, match="does not exist"):
        Access([tmp_path / "missing"])


def test_another_address_than_loopback_demands_a_password() -> None:
    with pytest.raises(ValueError, match="auth_env"):
        UiConfig(host="0.0.0.0")
    assert UiConfig(host="0.0.0.0", auth_env="X").host == "0.0.0.0"
    result = CliRunner().invoke(app, ["ui", "--host", "0.0.0.0", "--no-open"])
    assert result.exit_code != 0


def _answer(
    headers: dict[str, str], *, path: str = "/", credentials: str | None = None
) -> tuple[int, dict[str, str]]:
    """Status and headers with which a guarded application answers."""
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {}

    guard = Guard(app, hosts=frozenset({"localhost", "127.0.0.1"}), credentials=credentials)
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    anyio.run(guard, {"type": "http", "path": path, "headers": raw}, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found


def test_only_the_own_address_and_origin_are_answered() -> None:
    own = {"Host": "localhost:7860"}
    status, headers = _answer(own)
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    assert _answer(own | {"Origin": "http://localhost:7860"})[0] == 200
    assert _answer({"Host": "evil.example"})[0] == 403
    assert _answer({"Host": "localhost.evil.example:7860"})[0] == 403
    assert _answer({})[0] == 403
    assert _answer({"Host": "[::1"})[0] == 403
    assert _answer(own | {"Origin": "http://evil.example"})[0] == 403
    assert _answer(own | {"Origin": "http://localhost:9999"})[0] == 403
    assert _answer(own | {"Origin": "null"})[0] == 403
    assert _answer(own | {"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert _answer(own | {"Sec-Fetch-Site": "same-site"})[0] == 403
    assert _answer(own | {"Sec-Fetch-Site": "same-origin"})[0] == 200


def test_what_the_page_never_asks_for_is_not_answered() -> None:
    own = {"Host": "localhost:7860"}
    for path in ("/assets/index.js", "/gradio_api/run/predict", "/hypir/file/abc"):
        assert _answer(own, path=path)[0] == 200
    for path in ("/gradio_api/proxy=http://x", "/gradio_api/vibe-edit", "/runs", "//", "/docs"):
        assert _answer(own, path=path)[0] == 404


def _asked(folder: Path, path: str, body: bytes = b"") -> int:
    """Status with which a request is answered that may name files of one folder."""
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got = (await receive())["body"] if body else b""
        status = 200 if got == body else 500
        await send({"type": "http.response.start", "status": status, "headers": []})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    halves = [body[len(body) // 2 :], body[: len(body) // 2]]

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": halves.pop(), "more_body": bool(halves)}

    anyio.run(Uploads(app, folder=folder), {"type": "http", "path": path}, receive, send)
    return int(sent[0]["status"])


def test_requests_name_only_files_that_were_dropped(tmp_path: Path) -> None:
    dropped, secret = tmp_path / "dropped", _picture(tmp_path / "secret.png")
    fine = _picture(dropped / "x" / "fine.png")
    (dropped / "link.png").symlink_to(secret)
    others = ["http://example.org/a.png", "x/fine.png", f"{dropped}/../secret.png", "a\0b", 7]
    others += [str(secret), str(dropped / "link.png")]
    assert _asked(dropped, f"/gradio_api/file={fine}") == 200
    for other in others:
        assert _asked(dropped, f"/gradio_api/file={other}") == 403

    def act(file: object) -> int:
        body = json.dumps({"data": [{"deep": [{"path": file, "meta": {}}]}]}).encode()
        return _asked(dropped, "/gradio_api/run/predict", body)

    assert act(str(fine)) == 200
    assert [act(other) for other in others] == [403] * len(others)
    assert _asked(dropped, "/gradio_api/run/predict", b"{") == 403
    assert _asked(dropped, "/gradio_api/run/predict", b"[" * 200_000) == 403
    assert _asked(dropped, "/gradio_api/run/predict", b" " * 3_000_000) == 413


def test_the_password_is_asked_for_and_compared() -> None:
    def basic(text: str) -> dict[str, str]:
        encoded = base64.b64encode(text.encode()).decode()
        return {"Host": "localhost", "Authorization": f"Basic {encoded}"}

    status, headers = _answer({"Host": "localhost"}, credentials="ann:secret")
    assert status == 401
    assert headers["www-authenticate"].startswith("Basic")
    assert _answer(basic("ann:secret"), credentials="ann:secret")[0] == 200
    assert _answer(basic("ann:wrong"), credentials="ann:secret")[0] == 401
    assert (
        _answer({"Host": "localhost", "Authorization": "Basic %%%"}, credentials="ann:secret")[0]
        == 401
    )


def test_untouched_controls_are_the_defaults_and_the_shortest_command() -> None:
    assert settings(NO_PRESET, SHOWN) == RestoreConfig()
    command = command_line(NO_PRESET, SHOWN, source="a b.jpg", target="out")
    assert command == "hypir restore 'a b.jpg' out"


@pytest.mark.parametrize("preset", [NO_PRESET, *RESTORE_PRESETS])
def test_the_command_shown_does_what_the_page_does(preset: str) -> None:
    values = preset_values(preset) | {
        "prompt.text": "a street, 1930s; it's raining",
        "control.texture": "3000",
        "control.strength": 0.75,
        "control.fidelity": 0.25,
        "control.generativity": 0.35,
        "control.seed": 7,
        "control.samples": 2,
        "size.scale": 1.5,
        "output.format": "webp",
    }
    config = settings(preset, values)
    words = shlex.split(command_line(preset, values, source="in", target="out"))
    assert words[:4] == ["hypir", "restore", "in", "out"]
    pairs = dict(zip(words[4::2], words[5::2], strict=True))
    layers = [restore_preset(pairs.pop("--preset"))] if "--preset" in pairs else []
    keys = {control.flag: control.key for control in CONTROLS}
    flags = {keys[flag]: _typed(keys[flag], text) for flag, text in pairs.items()}
    assert resolve(RestoreConfig, layers=[*layers, ("flags", flags)]) == config
    help_text = CliRunner().invoke(app, ["restore", "--help"]).output
    assert all(flag in help_text for flag in ("--preset", *keys))


def _typed(key: str, text: str) -> Any:
    if key in ("control.seed", "control.samples"):
        return int(text)
    return text if key.startswith(("prompt", "output", "model")) else float(text)


def test_a_preset_moves_the_controls_and_an_unknown_one_is_named() -> None:
    assert preset_values("enlarge-x4")["size.scale"] == 4.0
    assert settings("enlarge-x4", preset_values("enlarge-x4")).size.scale == 4.0
    assert settings("enlarge-x4", preset_values("enlarge-x4") | {"size.scale": 1.0}).size.scale == 1
    with pytest.raises(ConfigError, match="no preset") as caught:
        restore_preset("scann")
    assert caught.value.hint.startswith("did you mean scan? known: old-print, scan, ")


def test_restore_takes_a_preset_and_flags_beat_it(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(tmp_path / "a.png")
    own = tmp_path / "own.yaml"
    own.write_text("size: {scale: 3}\n", encoding="utf-8")
    for preset, extra, side in (
        ("enlarge-x2", [], 32),
        (str(own), [], 48),
        ("enlarge-x4", ["--scale", "2"], 32),
    ):
        out = tmp_path / f"{Path(preset).stem}{side}.png"
        arguments = [str(tmp_path / "a.png"), str(out), "--preset", preset, *extra]
        assert CliRunner().invoke(app, ["restore", *arguments]).exit_code == 0
        with Image.open(out) as result:
            assert result.size == (side, side)


def test_work_is_done_in_order_and_errors_end_only_their_own() -> None:
    worker, order = Worker(), []

    def fail(task: Task) -> None:
        raise InputError("it is broken.", hint="mend it")

    def crash(task: Task) -> None:
        raise RuntimeError("no")

    tasks = [
        worker.submit(Task(title="one", run=lambda task: order.append(1))),
        worker.submit(Task(title="two", run=fail)),
        worker.submit(Task(title="three", run=crash)),
        worker.submit(Task(title="four", run=lambda task: order.append(4))),
    ]
    worker.close()
    assert order == [1, 4]
    assert [task.state for task in tasks] == ["done", "failed", "failed", "done"]
    assert tasks[1].message == "it is broken. Hint: mend it"
    assert tasks[2].message == "RuntimeError: no"


def test_cancelling_stops_running_work_at_its_next_step_and_waiting_work_before_it_begins() -> None:
    worker, begun, go = Worker(), threading.Event(), threading.Event()

    def steps(task: Task) -> None:
        begun.set()
        assert go.wait(30)
        task.advance(0.5, "half")

    running = worker.submit(Task(title="running", run=steps))
    waiting = worker.submit(Task(title="waiting", run=lambda task: pytest.fail("it began")))
    assert begun.wait(30)
    waiting.cancel()
    running.cancel()
    go.set()
    worker.close()
    assert (running.state, waiting.state) == ("cancelled", "cancelled")
    with pytest.raises(Cancelled):
        running.advance(0.9)


def test_files_have_addresses_only_once_they_are_put_on_the_shelf(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photo = tmp_path / "a.png"
    scan = tmp_path / "b.tif"
    for path in (photo, scan):
        Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)).save(path)
    shelf = Shelf(tmp_path / "pages")
    (tmp_path / "pages").mkdir()
    assert shelf.find("../a.png") is None
    address = shelf.address(photo)
    assert shelf.address(photo) == address
    assert shelf.find(address.rsplit("/", 1)[1]) == photo
    copy = shelf.find(shelf.picture(scan).rsplit("/", 1)[1])
    assert copy is not None
    with Image.open(copy) as shown, Image.open(scan) as original:
        assert np.array_equal(np.asarray(shown), np.asarray(original))
    row = ComparisonRow(name="</script>", before=photo, after=(scan,))
    page = shelf.find(shelf.comparison([row], title="<b>").rsplit("/", 1)[1])
    assert page is not None
    text = page.read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "<b>" not in text.split("<body>")[1]


def _report(path: Path, *, time: float, **more: object) -> Path:
    images = [
        {"input": "/a", "outputs": ["/b"], "status": "done"},
        {"input": "/c", "outputs": ["/d"], "status": "failed"},
    ]
    content = {"summary": {"done": 1, "skipped": 0, "failed": 1}, "images": images, **more}
    path.write_text(json.dumps(content), encoding="utf-8")
    os.utime(path, (time, time))
    return path


def test_earlier_runs_are_found_by_their_reports_whatever_they_are_called(tmp_path: Path) -> None:
    first = _report(tmp_path / "hypir-report-today.json", time=1e9)
    second = _report(tmp_path / "mine.json", time=1e9 + 60, interrupted=True)
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    (tmp_path / "torn.json").write_text("{", encoding="utf-8")
    (tmp_path / "elsewhere.json").symlink_to(first)
    runs = past_runs(tmp_path, permits=lambda path: not path.is_symlink())
    assert [run.path for run in runs] == [second, first]
    assert runs[0].title.endswith(": 1 done, 1 failed, interrupted")
    assert runs[1].title.endswith(": 1 done, 1 failed")
    assert report_pairs(read_report(first)) == [(Path("/a"), (Path("/b"),))]


def _picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), 90, np.uint8)).save(path)
    return path


def test_links_that_lead_outside_are_reported_and_neither_read_nor_written(tmp_path: Path) -> None:
    named, outside = tmp_path / "named", tmp_path / "outside"
    _picture(named / "in" / "fine.png")
    _picture(named / "in" / "sub" / "kept-out.png")
    secret = _picture(outside / "secret.png")
    (named / "in" / "file.png").symlink_to(secret)
    (named / "in" / "folder").symlink_to(outside)
    (named / "out").mkdir()
    (named / "out" / "sub").symlink_to(outside)
    access, engines = Access([named]), EngineCache()
    run = FolderRun(source=access.path("in"), target=access.path("out"))
    task = Task(title="", run=lambda task: None)
    run_folder_task(task, run, config=RestoreConfig(), engines=engines, permits=access.allows)
    assert run.counts == {"done": 1, "failed": 3}
    assert sorted(name for name, _ in run.failures) == ["file.png", "kept-out.png", "secret.png"]
    assert all("outside the folders" in text for _, text in run.failures)
    assert sorted(path.name for path in outside.iterdir()) == ["secret.png"]
    assert [path.name for path in (named / "out").glob("*.png")] == ["fine.png"]


def test_images_that_were_there_do_not_count_for_the_time_left(tmp_path: Path) -> None:
    run = FolderRun(source=tmp_path, target=tmp_path)
    assert run.share() == 0.0
    run.total, run.finished, run.counts = 10, 6, {"skipped": 6}
    assert run.share() == 0.0
    assert run.share(0.5) == 0.125
    run.finished = 10
    assert run.share() == 1.0


def test_weights_lie_below_the_folders_or_on_the_hub(tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.mkdir()
    (named / "own.safetensors").touch()
    (tmp_path / "other.safetensors").touch()
    access = Access([named])
    assert access.weights(" ") == ""
    assert access.weights("owner/repository:file.pth") == "owner/repository:file.pth"
    assert access.weights("own.safetensors") == str(named / "own.safetensors")
    for text in ("../other.safetensors", str(tmp_path / "other.safetensors"), "~/x", "missing"):
        with pytest.raises(InputError):
            access.weights(text)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    for name in ("named", "own"):
        (tmp_path / name).mkdir()
    worker = Worker()
    yield Studio(
        access=Access([tmp_path / "named"]),
        folder=tmp_path / "own",
        shelf=Shelf(tmp_path / "own"),
        worker=worker,
        engines=EngineCache(),
    )
    worker.close()


def test_folders_wait_in_a_queue_that_can_be_cleared(studio: Studio) -> None:
    go, desk = threading.Event(), Desk(studio)
    other = studio.worker.submit(Task(title="another browser's", run=lambda task: _wait_for(go)))
    root = studio.access.roots[0]
    first, second = (
        desk.restore_folder(root / name, root / "out", NO_PRESET, SHOWN) for name in ("a", "b")
    )
    assert desk.current is not None
    assert desk.current.task is first
    assert [work.task for work in desk.waiting] == [second]
    said = status_html(desk, busy_with=other)
    assert "first: another browser" in said
    assert f"then: Restoring {root / 'b'}" in said
    with pytest.raises(InputError, match="already"):
        desk.restore_folder(root / "a", root / "out", NO_PRESET, SHOWN)
    desk.cancel_waiting()
    assert (first.state, second.state) == ("cancelled", "cancelled")
    go.set()


def _wait_for(event: threading.Event) -> None:
    assert event.wait(30)


def test_names_are_no_markup_where_the_page_says_them(studio: Studio) -> None:
    desk = Desk(studio)
    root = studio.access.roots[0]
    task = desk.restore_folder(root / "<img src=x>", root / "out", NO_PRESET, SHOWN)
    studio.worker.submit(Task(title="last", run=lambda task: None))
    while task.is_open:
        time.sleep(0.01)
    assert task.state == "failed"
    said = status_html(desk, busy_with=None)
    assert "<img" not in said
    assert "&lt;img" in said
    shown = Shown(title='"><b>', address="/x", downloads=(('a"&.png', "/y"),))
    assert "<b>" not in viewer_html(shown)
    assert "/y?download=a%22%26.png" in viewer_html(shown)


def test_files_that_became_links_to_elsewhere_are_not_handed_out(
    studio: Studio, tmp_path: Path
) -> None:
    secret = _picture(tmp_path / "secret.png")
    link = studio.access.roots[0] / "link.png"
    swapped = _picture(studio.access.roots[0] / "swapped.png")
    own = _picture(studio.folder / "page.png")
    link.symlink_to(secret)
    paths = (link, swapped, own, secret)
    tokens = [studio.shelf.address(path).rsplit("/", 1)[1] for path in paths]
    assert [hand_out(studio, token).status_code for token in tokens] == [404, 200, 200, 404]
    swapped.unlink()
    swapped.symlink_to(secret)
    assert hand_out(studio, tokens[1]).status_code == 404
    assert hand_out(studio, "unknown").status_code == 404
    named = hand_out(studio, tokens[2], "a.png").headers["content-disposition"]
    assert named == 'attachment; filename="a.png"'
