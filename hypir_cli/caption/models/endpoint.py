"""Captions from a server that speaks the OpenAI chat completions protocol.

The key lives in one private attribute: it is in no settings, message, representation or log.
"""

from __future__ import annotations

import base64
import io
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from PIL import Image

from hypir_cli.caption.models.base import CaptionInput, Outcome
from hypir_cli.caption.models.throttle import RateLimit, pause
from hypir_cli.config.caption import EndpointConfig, check_url
from hypir_cli.errors import BackboneError, ConfigError, HypirError, InputError

DEFAULT_URL = "https://api.openai.com/v1"
_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Status codes after which the same request may succeed later."""
_REFUSING = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})
"""Status codes that no other image would change."""


class EndpointCaptioner:
    """Asks an OpenAI-compatible endpoint about each image, several at a time.

    Args:
        settings: Address, patience and what is sent.
        question: What is asked.
        model: The endpoint's name of the model; None takes HYPIR_OPENAI_MODEL, OPENAI_MODEL, or the only one served.
        api_key: None takes it from the environment; servers without authentication need none.
        max_tokens: Longest answer in tokens.

    Raises:
        ConfigError: An unusable key, or no model named.
        BackboneError: The server cannot be asked for its models.
    """

    def __init__(
        self,
        settings: EndpointConfig,
        *,
        question: str,
        model: str | None = None,
        api_key: str | None = None,
        max_tokens: int = 120,
    ) -> None:
        self._settings = settings
        self._question = question
        self._max_tokens = max_tokens
        self._url = settings.url or _url_from_environment()
        self._key = _usable_key(api_key, key_env=settings.key_env)
        self._client = httpx.Client(timeout=settings.timeout)
        self._limit = RateLimit(settings.per_minute)
        self._lock = threading.Lock()
        self._exhausted_in_a_row = 0
        self._model = model or _environment("OPENAI_MODEL") or self._only_model()

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """One answer per image; all are in flight at once.

        Raises:
            BackboneError: The server refuses every request, cannot be reached, or stays busy.
        """
        with ThreadPoolExecutor(max_workers=max(1, len(inputs))) as pool:
            futures = [pool.submit(self._ask, item.image) for item in inputs]
        errors = [future.exception() for future in futures]
        fatal = next((e for e in errors if e and not isinstance(e, InputError)), None)
        if fatal and all(errors):
            raise fatal
        return [
            _as_outcome(error) if error else future.result()
            for error, future in zip(errors, futures, strict=True)
        ]

    def _ask(self, image: Image.Image) -> str:
        body = {
            "model": self._model,
            "max_tokens": self._max_tokens,
            "messages": [{"role": "user", "content": self._content(image)}],
            **self._settings.extra,
        }
        response = self._send("/chat/completions", body=body)
        if response.status_code >= 400:
            raise InputError(
                f"{self._url} refused the image with status {response.status_code}: "
                f"{self._without_key(response.text)}.",
                hint=_parameter_hint(response.text, self._max_tokens),
            )
        return _answer(response)

    def _content(self, image: Image.Image) -> list[dict[str, Any]]:
        jpeg = encoded_jpeg(
            image, long_side=self._settings.long_side, quality=self._settings.quality
        )
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        return [
            {"type": "text", "text": self._question},
            {"type": "image_url", "image_url": {"url": url}},
        ]

    def _send(self, path: str, *, body: dict[str, Any] | None = None) -> httpx.Response:
        """The last response that is neither busy nor refusing; retried as the settings say."""
        reason = ""
        for attempt in range(1, self._settings.attempts + 1):
            self._limit.wait()
            retry_after = None
            try:
                response = self._once(path, body)
            except httpx.HTTPError as error:
                reason = _transport_reason(error)
            else:
                if response.status_code not in _BUSY:
                    return self._checked(response)
                reason = f"status {response.status_code}"
                retry_after = response.headers.get("retry-after")
            if attempt < self._settings.attempts:
                time.sleep(self._pause(attempt, retry_after))
        raise self._exhausted(reason)

    def _once(self, path: str, body: dict[str, Any] | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        url = self._url.rstrip("/") + path
        if body is None:
            return self._client.get(url, headers=headers)
        kept = {key: value for key, value in body.items() if value is not None}
        return self._client.post(url, headers=headers, json=kept)

    def _pause(self, attempt: int, retry_after: str | None) -> float:
        return pause(
            attempt,
            backoff=self._settings.backoff,
            max_wait=self._settings.max_wait,
            retry_after=retry_after,
        )

    def _checked(self, response: httpx.Response) -> httpx.Response:
        with self._lock:
            self._exhausted_in_a_row = 0
        if response.status_code not in _REFUSING:
            return response
        # Bodies of 401 answers quote parts of the key, so none of them is shown.
        raise BackboneError(
            f"{self._url} refuses requests with status {response.status_code}.",
            hint="check the address (--url), the key (--key-env or OPENAI_API_KEY) and the model (--model)",
        )

    def _exhausted(self, reason: str) -> HypirError:
        message = f"no answer from {self._url} in {self._settings.attempts} tries ({reason})."
        with self._lock:
            self._exhausted_in_a_row += 1
            if self._exhausted_in_a_row < self._settings.give_up_after:
                return InputError(message)
        return BackboneError(
            message, hint="run the same command again later: finished captions are kept"
        )

    def _only_model(self) -> str:
        try:
            served = [str(entry["id"]) for entry in self._send("/models").json()["data"]]
        except (ValueError, KeyError, TypeError, InputError):
            served = []
        if len(served) == 1:
            return served[0]
        names = f"; it serves {', '.join(served[:5])}" if served else ""
        raise ConfigError(
            f"no model is named for {self._url}{names}.", hint="give --model NAME or OPENAI_MODEL"
        )

    def _without_key(self, text: str) -> str:
        line = " ".join(text.split())[:200].rstrip(".")
        return line.replace(self._key, "***") if self._key else line


def encoded_jpeg(image: Image.Image, *, long_side: int, quality: int) -> bytes:
    """JPEG bytes of an image whose longer side is at most `long_side` pixels."""
    small = image.convert("RGB")
    small.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _as_outcome(error: BaseException) -> HypirError:
    """An error of one request as its image's outcome; anything but ours is a bug and goes on."""
    if isinstance(error, HypirError):
        return error
    raise error


def _answer(response: httpx.Response) -> str:
    """The text of the first choice."""
    try:
        message = response.json()["choices"][0]["message"]
        content = message["content"]
        if isinstance(content, list):
            content = " ".join(part["text"] for part in content if part.get("type") == "text")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise InputError(
            f"the endpoint's answer is not a chat completion ({type(error).__name__})."
        ) from error
    if not isinstance(content, str) or not content.strip():
        raise InputError(f"the endpoint gave no text{_refusal(message)}.")
    return content


def _parameter_hint(text: str, max_tokens: int) -> str:
    """The way out where a model does not take a field that we send."""
    if "max_tokens" not in text:
        return "see captioner.endpoint.extra, which adds and drops fields of the request"
    return (
        '--set "captioner.endpoint.extra={max_tokens: null, max_completion_tokens: '
        f'{max_tokens}}}" sends what such models take'
    )


def _refusal(message: dict[str, Any]) -> str:
    refusal = message.get("refusal")
    return f": {str(refusal)[:200].rstrip('.')}" if refusal else ""


def _transport_reason(error: httpx.HTTPError) -> str:
    """What went wrong on the wire; never the error's text, which may quote headers."""
    if isinstance(error, httpx.TimeoutException):
        return "timed out"
    if isinstance(error, httpx.ConnectError):
        return "cannot connect"
    return type(error).__name__


def _environment(name: str) -> str | None:
    return os.environ.get(f"HYPIR_{name}") or os.environ.get(name) or None


def _url_from_environment() -> str:
    url = _environment("OPENAI_BASE_URL") or DEFAULT_URL
    try:
        check_url(url)
    except ValueError as error:
        raise ConfigError(f"OPENAI_BASE_URL cannot be used: {error}.") from error
    return url


def _usable_key(api_key: str | None, *, key_env: str | None) -> str:
    if api_key is None and key_env is not None:
        if key_env not in os.environ:
            raise ConfigError(f"the environment variable {key_env} is not set.")
        api_key = os.environ[key_env]
    key = (api_key or _environment("OPENAI_API_KEY") or "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ConfigError(
            "the endpoint key holds spaces, line breaks or characters beyond ASCII.",
            hint="copy it again",
        )
    return key
