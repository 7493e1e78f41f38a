"""The endpoint client against a real HTTP server that answers, stalls and fails."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hypir_cli.caption.images import SidecarStore, caption_images
from hypir_cli.caption.models.base import CaptionInput
from hypir_cli.caption.models.endpoint import EndpointCaptioner
from hypir_cli.caption.models.throttle import RateLimit, pause
from hypir_cli.config.caption import CaptionerConfig, EndpointConfig
from hypir_cli.config.schema import resolve, to_yaml
from hypir_cli.errors import BackboneError, ConfigError, HypirError, InputError
from hypir_cli.folder.scan import find_images
from tests.web_server import QuietHandler, serving

KEY = "sk-very-secret-0123456789"
Reply = tuple[int, dict[str, str], bytes]


def completion(text: Any, **message: Any) -> Reply:
    body = {"choices": [{"message": {"role": "assistant", "content": text, **message}}]}
    return 200, {}, json.dumps(body).encode()


@dataclass
class Server:
    """What a test's server answers, in turn (the last again and again), and what it was asked."""

    replies: list[Reply | Callable[[], Reply]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    url: str = ""

    def next_reply(self) -> Reply:
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return reply() if callable(reply) else reply


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"HYPIR_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    state = Server(replies=[completion("A red square.")])

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            state.bodies.append(json.loads(self.rfile.read(length)))
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            state.headers.append(dict(self.headers))
            state.times.append(time.monotonic())
            status, headers, content = state.next_reply()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send(content, status=status, headers=headers)

    with serving(Handler) as url:
        state.url = f"{url}/v1"
        yield state


def ask(
    server: Server, *, images: int = 1, size: tuple[int, int] = (64, 48), **settings: Any
) -> Any:
    return client(server, **settings).caption(picture(size) * images)


def client(server: Server, **settings: Any) -> EndpointCaptioner:
    values = {"url": server.url, "backoff": 0.01, "timeout": 2.0, "attempts": 3, **settings}
    return EndpointCaptioner(
        EndpointConfig(**values), question="What is it?", model="m", api_key=KEY
    )


def picture(size: tuple[int, int] = (64, 48)) -> list[CaptionInput]:
    return [CaptionInput(image=Image.new("RGB", size, "red"))]


def test_the_answer_is_the_caption(server: Server) -> None:
    assert ask(server) == ["A red square."]
    assert server.bodies[0]["model"] == "m"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_text_in_parts_is_joined(server: Server) -> None:
    server.replies = [completion([{"type": "text", "text": "A"}, {"type": "text", "text": "dog."}])]
    assert ask(server) == ["A dog."]


def test_the_image_is_reduced_and_sent_as_jpeg(server: Server) -> None:
    ask(server, size=(2000, 500), long_side=200)
    text, image = server.bodies[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What is it?"}
    head, _, data = image["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
        assert (sent.format, sent.size) == ("JPEG", (200, 50))


def test_extra_fields_are_sent_and_null_drops_one_of_ours(server: Server) -> None:
    ask(server, extra={"max_tokens": None, "temperature": 0})
    assert server.bodies[0]["temperature"] == 0
    assert "max_tokens" not in server.bodies[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_and_failing_servers_are_asked_again(server: Server, status: int) -> None:
    server.replies = [(status, {}, b"busy"), (status, {}, b"busy"), completion("Now.")]
    assert ask(server) == ["Now."]
    assert len(server.bodies) == 3


def test_retry_after_is_respected(server: Server) -> None:
    server.replies = [(429, {"Retry-After": "0.4"}, b""), completion("Now.")]
    assert ask(server, backoff=0.0) == ["Now."]
    assert server.times[1] - server.times[0] >= 0.4


def test_a_stalling_server_times_out_and_is_asked_again(server: Server) -> None:
    def stall() -> Reply:
        time.sleep(0.6)
        return completion("Too late.")

    server.replies = [stall, completion("In time.")]
    assert ask(server, timeout=0.2) == ["In time."]


@pytest.mark.parametrize(
    "content",
    [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": null}]}', b"\xff\xfe"],
)
def test_malformed_answers_fail_their_image_alone(server: Server, content: bytes) -> None:
    server.replies = [(200, {}, content)]
    (outcome,) = ask(server)
    assert isinstance(outcome, InputError)
    assert "not a chat completion" in outcome.message


def test_an_empty_answer_names_the_refusal(server: Server) -> None:
    server.replies = [completion(None, refusal="I cannot describe people.")]
    (outcome,) = ask(server)
    assert isinstance(outcome, InputError)
    assert "I cannot describe people" in outcome.message


def test_a_refused_image_does_not_stop_the_others(server: Server) -> None:
    server.replies = [(400, {}, b'{"error": "image too small"}'), completion("A square.")]
    captioner = client(server)
    first, second = captioner.caption(picture())[0], captioner.caption(picture())[0]
    assert isinstance(first, InputError)
    assert "image too small" in first.message
    assert second == "A square."


def test_a_server_that_stays_down_stops_the_run_after_a_few_images(server: Server) -> None:
    server.replies = [(503, {}, b"")]
    captioner = client(server, attempts=2, give_up_after=3)
    assert isinstance(captioner.caption(picture())[0], InputError)
    assert isinstance(captioner.caption(picture())[0], InputError)
    with pytest.raises(BackboneError, match="status 503"):
        captioner.caption(picture())
    assert len(server.bodies) == 6


def test_one_image_with_persistent_errors_is_that_images_failure(
    server: Server, tmp_path: Path
) -> None:
    for index in range(5):
        Image.new("RGB", (64, 48), "red" if index == 2 else "green").save(tmp_path / f"{index}.png")

    def reply() -> Reply:
        sent = server.bodies[-1]["messages"][0]["content"][1]["image_url"]["url"]
        with Image.open(io.BytesIO(base64.b64decode(sent.partition(",")[2]))) as image:
            red, green, _ = image.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        return (500, {}, b"") if red > green else completion("A green field.")

    server.replies = [reply]
    summary = caption_images(
        sorted(tmp_path.glob("*.png")),
        client(server, attempts=2),
        SidecarStore(find_images([tmp_path]).images, out=None),
        batch=1,
    )
    assert summary.written == 4
    ((failed, error),) = summary.failures
    assert Path(failed).name == "2.png"
    assert "status 500" in error.message


def test_what_succeeded_beside_failures_is_kept(server: Server) -> None:
    server.replies = [completion("Fine."), (503, {}, b"")]
    outcomes = ask(server, images=4, attempts=1, give_up_after=1)
    assert outcomes.count("Fine.") == 1
    assert sum(isinstance(outcome, HypirError) for outcome in outcomes) == 3


def test_nobody_listening_is_an_error_with_a_way_out() -> None:
    settings = EndpointConfig(url="http://127.0.0.1:9/v1", attempts=2, backoff=0, give_up_after=1)
    captioner = EndpointCaptioner(settings, question="?", model="m", api_key=KEY)
    with pytest.raises(BackboneError, match="cannot connect") as caught:
        captioner.caption(picture())
    assert caught.value.hint


def test_a_wrong_key_stops_at_once_and_is_never_shown(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.replies = [(401, {}, f"Incorrect API key provided: {KEY}".encode())]
    captioner = client(server)
    with pytest.raises(BackboneError, match="401") as caught:
        captioner.caption(picture())
    assert len(server.bodies) == 1
    everything = [str(caught.value), repr(caught.value), caught.value.hint, repr(captioner)]
    assert not any(KEY in text for text in [*everything, caplog.text])


def test_an_echoed_key_is_blotted_out(server: Server) -> None:
    server.replies = [(400, {}, f"bad request by {KEY}".encode())]
    (outcome,) = ask(server)
    assert KEY not in outcome.message
    assert "***" in outcome.message


def test_an_unusable_key_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        EndpointCaptioner(
            EndpointConfig(url="http://x/v1"), question="?", model="m", api_key="sécret key"
        )
    assert "sécret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_settings_cannot_hold_a_key() -> None:
    with pytest.raises(ConfigError, match="unknown setting"):
        resolve(CaptionerConfig, layers=[("file", {"endpoint": {"api_key": KEY}})])
    with pytest.raises(ConfigError, match="password"):
        resolve(EndpointConfig, layers=[("file", {"url": f"http://me:{KEY}@host/v1"})])
    assert "api_key" not in to_yaml(CaptionerConfig())


def test_address_key_and_model_come_from_the_environment(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/wrong")
    monkeypatch.setenv("HYPIR_OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "from-environment")
    captioner = EndpointCaptioner(EndpointConfig(), question="?")
    assert captioner.caption(picture()) == ["A red square."]
    assert server.bodies[0]["model"] == "from-environment"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_named_key_variable_must_be_set() -> None:
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        EndpointCaptioner(EndpointConfig(url="http://x", key_env="MY_KEY"), question="?", model="m")


def test_the_only_served_model_needs_no_name(server: Server) -> None:
    server.replies = [(200, {}, b'{"data": [{"id": "vlm"}]}'), completion("A dog.")]
    captioner = EndpointCaptioner(EndpointConfig(url=server.url), question="?")
    assert captioner.caption(picture()) == ["A dog."]
    assert server.bodies[0]["model"] == "vlm"
    assert "Authorization" not in server.headers[0]


def test_several_served_models_must_be_chosen_from(server: Server) -> None:
    server.replies = [(200, {}, b'{"data": [{"id": "a"}, {"id": "b"}]}')]
    with pytest.raises(ConfigError, match="it serves a, b"):
        EndpointCaptioner(EndpointConfig(url=server.url), question="?")


def test_a_batch_is_in_flight_at_once(server: Server) -> None:
    meeting = threading.Barrier(3, timeout=5)

    def together() -> Reply:
        meeting.wait()
        return completion("Met.")

    server.replies = [together]
    assert ask(server, images=3, timeout=10.0) == ["Met."] * 3


def test_requests_are_spaced_by_the_rate_limit(server: Server) -> None:
    start = time.monotonic()
    ask(server, images=3, per_minute=600)
    assert max(server.times) - start >= 0.2


def test_the_rate_limit_waits_in_turn() -> None:
    waits: list[float] = []
    limit = RateLimit(30, clock=lambda: 100.0, sleep=waits.append)
    for _ in range(3):
        limit.wait()
    assert waits == [2.0, 4.0]


def test_pauses_double_up_to_the_longest() -> None:
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (9, 5.0)):
        assert longest / 2 <= pause(attempt, backoff=1.0, max_wait=5.0) <= longest


def test_pauses_follow_the_server_up_to_the_longest() -> None:
    assert pause(1, backoff=1.0, max_wait=60.0, retry_after="7") == 7.0
    assert pause(1, backoff=1.0, max_wait=60.0, retry_after="900") == 60.0
    assert pause(1, backoff=1.0, max_wait=60.0, retry_after="Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert pause(1, backoff=1.0, max_wait=60.0, retry_after="Wed, 21 Oct 2015 07:28:00") == 0.0
    assert 0.5 <= pause(1, backoff=1.0, max_wait=60.0, retry_after="soon") <= 1.0


def test_settings_out_of_range_are_named() -> None:
    for values in ({"timeout": 0}, {"attempts": 0}, {"quality": 99}, {"url": "ftp://x"}):
        name = next(iter(values))
        with pytest.raises(ConfigError, match=name):
            resolve(EndpointConfig, layers=[("flags", values)])
