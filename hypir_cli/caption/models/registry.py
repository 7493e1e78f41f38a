"""From settings to a captioner whose answers are prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypir_cli.caption.models.base import Captioner, CaptionInput, FixedCaptioner, Outcome
from hypir_cli.caption.models.sidecar import SidecarCaptioner
from hypir_cli.caption.models.wording import to_prompt
from hypir_cli.config.caption import INSTRUCTION, CaptionerConfig
from hypir_cli.config.extras import needing
from hypir_cli.errors import InputError


@dataclass(frozen=True, kw_only=True)
class CleanedCaptioner:
    """Another captioner's answers, made into prompts by `wording.to_prompt`."""

    source: Captioner
    """Who answers."""
    keep_quality_words: bool = False
    """Leave claims about the picture's quality in."""

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """One prompt per image; an answer without content is an `InputError`."""
        return [self._cleaned(outcome) for outcome in self.source.caption(inputs)]

    def _cleaned(self, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, str):
            return outcome
        prompt = to_prompt(outcome, keep_quality_words=self.keep_quality_words)
        return prompt or InputError(
            f"the caption says nothing about the content: {outcome[:80]!r}."
        )


def build_captioner(settings: CaptionerConfig, *, api_key: str | None = None) -> Captioner:
    """The captioner that settings name, its model loaded.

    Args:
        settings: Which one, and how it asks.
        api_key: Key of the endpoint; None takes it from the environment.

    Raises:
        HypirError: The model or the endpoint cannot be used.
    """
    if settings.kind == "fixed":
        return FixedCaptioner(settings.text)
    if settings.kind == "sidecar":
        return SidecarCaptioner()
    source = _endpoint(settings, api_key) if settings.kind == "openai" else _local(settings)
    return CleanedCaptioner(source=source, keep_quality_words=settings.keep_quality_words)


def _endpoint(settings: CaptionerConfig, api_key: str | None) -> Captioner:
    with needing("the openai captioner needs", extra="caption"):
        from hypir_cli.caption.models.endpoint import EndpointCaptioner
    return EndpointCaptioner(
        settings.endpoint,
        question=INSTRUCTION if settings.template is None else settings.template,
        model=settings.model,
        api_key=api_key,
        max_tokens=settings.max_tokens,
    )


def _local(settings: CaptionerConfig) -> Captioner:
    from hypir_cli.caption.models.local import BlipCaptioner, ChatCaptioner

    blip = settings.kind == "blip"
    usual = "" if blip else INSTRUCTION
    captioner = BlipCaptioner if blip else ChatCaptioner
    return captioner(
        settings.model or None,
        template=usual if settings.template is None else settings.template,
        revision=settings.revision,
        max_tokens=settings.max_tokens,
        device=settings.device,
        precision=settings.dtype,
    )
