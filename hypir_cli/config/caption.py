"""Settings of captioning models and of `hypir caption`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hypir_cli.config.checks import check_device, check_within
from hypir_cli.config.flags import flag, group
from hypir_cli.config.restore import RestoreConfig

INSTRUCTION = (
    "Describe what this photograph shows in one or two plain sentences: the subjects, their materials and "
    "colours, the place and the light. State facts only. Say nothing about sharpness, noise, resolution or "
    "the quality of the picture, and do not start with 'The image'."
)
"""What captioners that follow instructions are asked unless the user asks something else."""


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """A server that speaks the OpenAI chat completions protocol; its key is never part of the settings."""

    url: str | None = flag(None, "--url")
    """Base URL ending before /chat/completions; unset takes HYPIR_OPENAI_BASE_URL, OPENAI_BASE_URL, then OpenAI's own."""
    key_env: str | None = flag(None, "--key-env")
    """Environment variable that holds the key; unset takes HYPIR_OPENAI_API_KEY, then OPENAI_API_KEY."""
    timeout: float = flag(60.0, "--timeout")
    """Seconds to wait for one answer."""
    attempts: int = flag(6, "--attempts")
    """Tries per image on busy (429), failing (5xx) or silent servers."""
    backoff: float = 1.0
    """Seconds before the second try; doubled for each further one, with jitter."""
    max_wait: float = 60.0
    """Longest pause between two tries in seconds, also when the server asks for more."""
    per_minute: float | None = flag(None, "--per-minute")
    """Most requests per minute; unset does not limit."""
    give_up_after: int = 3
    """Images in a row whose tries ran out before the run stops, because then it is the server and not the image."""
    long_side: int = flag(1024, "--send-side")
    """Images are sent with their longer side reduced to this many pixels."""
    quality: int = 90
    """JPEG quality of what is sent, 1 to 95."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request, e.g. temperature; a null value drops a field we would send."""

    def __post_init__(self) -> None:
        if self.url is not None:
            check_url(self.url)
        for name in ("timeout", "max_wait", "per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"endpoint.{name} must be above 0, got {value}")
        for name, least in (
            ("backoff", 0),
            ("attempts", 1),
            ("give_up_after", 1),
            ("long_side", 32),
        ):
            if not getattr(self, name) >= least:
                raise ValueError(
                    f"endpoint.{name} must be at least {least}, got {getattr(self, name)}"
                )
        check_within(self, "endpoint", ("quality",), least=1, most=95)


def check_url(url: str) -> None:
    """Refuse addresses that are none, or that carry a password.

    Raises:
        ValueError: Such an address.
    """
    if not re.match(r"https?://[^/]", url):
        raise ValueError("endpoint.url must start with http:// or https://")
    if "@" in url.split("/")[2]:
        raise ValueError("endpoint.url must not hold a user name or password")


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig:
    """What turns an image into a prompt."""

    kind: Literal["llava", "blip", "openai", "fixed", "sidecar"] = flag("llava", "--captioner")
    """llava (any chat model of transformers), blip (light), openai (an endpoint), fixed text, or existing sidecar .txt."""
    model: str | None = flag(None, "--model")
    """Folder, hub id or the endpoint's model name; unset takes the captioner's own."""
    revision: str | None = flag(None, "--revision")
    """Hub revision of the model."""
    template: str | None = flag(None, "--template")
    """What the model is asked (llava, openai) or how each caption begins (blip); unset asks for a short factual description."""
    text: str = flag("", "--text")
    """The prompt that `fixed` gives to every image."""
    max_tokens: int = flag(120, "--max-tokens")
    """Longest caption in tokens of the model."""
    keep_quality_words: bool = flag(False, "--keep-quality-words")
    """Keep words about the picture's quality (blurry, noisy, 4k...), which are removed otherwise."""
    device: str = flag("auto", "--device")
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = flag("auto", "--dtype")
    """Number format of the model; auto is bf16 on CUDA and fp32 elsewhere."""
    endpoint: EndpointConfig = group(EndpointConfig, "Endpoint (--captioner openai)")
    """Server settings of `openai`."""

    def __post_init__(self) -> None:
        check_device("device", self.device)
        check_within(self, "", ("max_tokens",), least=1)
        if self.kind == "fixed" and not self.text.strip():
            raise ValueError("the fixed captioner needs a text (--text)")


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """All settings of `hypir caption`."""

    to: Literal["sidecar", "jsonl", "parquet"] = flag("sidecar", "--to")
    """One .txt per image, or one table with the columns image_path and prompt."""
    out: Path | None = flag(None, "--out")
    """Table file, or folder for the .txt tree; unset puts each .txt beside its image, tables need it."""
    existing: Literal["skip", "overwrite", "error"] = flag("skip", "--existing")
    """What to do with images that have a prompt: skip makes an interrupted run resume."""
    batch: int = flag(4, "--batch")
    """Images per model call, or requests in flight."""
    pre_restore: bool = flag(False, "--pre-restore")
    """Caption a restoration of each image instead of the image: captioners misread degraded images."""
    restore: RestoreConfig = field(default_factory=RestoreConfig)
    """How to restore first; what concerns prompts, samples and files does not apply."""
    captioner: CaptionerConfig = group(CaptionerConfig, "Captioner")
    """What turns an image into a prompt."""

    def __post_init__(self) -> None:
        check_within(self, "", ("batch",), least=1)
        if self.to != "sidecar" and self.out is None:
            raise ValueError(f"--to {self.to} needs --out FILE")
