"""Captioning models that run here, through transformers: LLaVA and other chat models, and BLIP.

Image processors that ship without torchvision are used when it is absent; LLaVA-OneVision needs it for its video processor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from PIL import Image

from hypir_cli.caption.models.base import CaptionInput, Outcome
from hypir_cli.errors import BackboneError, DeviceError, first_line
from hypir_cli.models.device import DTYPES, pick_device
from hypir_cli.models.reach import limited_network

_PLAIN_CHAT = "USER: {image} {question} ASSISTANT:"
"""LLaVA 1.5's own turn format, for model folders without a chat template."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class LocalCaptioner(ABC):
    """A captioning model of transformers with its processor.

    Args:
        model: Folder or hub id; None takes the class's usual one.
        template: What a chat model is asked, or how each caption of BLIP begins.
        revision: Hub revision.
        max_tokens: Longest caption in tokens.
        device: `auto`, `cpu`, `cuda[:N]` or `mps`.
        precision: Number format; auto is bf16 on CUDA and fp32 elsewhere.

    Raises:
        BackboneError: The model cannot be loaded.
    """

    kind: ClassVar[str]
    """Name of the network's class in transformers."""
    usual_model: ClassVar[str]
    """Hub id of the model where none is named."""

    def __init__(
        self,
        model: str | None = None,
        *,
        template: str = "",
        revision: str | None = None,
        max_tokens: int = 120,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        import transformers

        self._network, self._processor = _load(
            getattr(transformers, self.kind),
            model or self.usual_model,
            revision=revision,
            device=device,
            precision=precision,
        )
        self._max_tokens = max_tokens
        self._text = self.prepare(template)

    def prepare(self, template: str) -> str:
        """The text that goes with every image."""
        return template

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """One greedy caption per image.

        Raises:
            DeviceError: Out of memory.
        """
        tokens = self.tokens([_roomy(item.image) for item in inputs])
        answers = _generate(self._network, tokens, max_tokens=self._max_tokens)
        captions = answers[:, self.prompt_length(tokens) :]
        texts = self._processor.batch_decode(captions, skip_special_tokens=True)
        return [text.strip() for text in texts]

    @abstractmethod
    def tokens(self, images: list[Image.Image]) -> dict[str, torch.Tensor]:
        """What the network is given for images."""

    @abstractmethod
    def prompt_length(self, tokens: dict[str, torch.Tensor]) -> int:
        """Tokens at the beginning of an answer that are not part of the caption."""


class ChatCaptioner(LocalCaptioner):
    """Any image-and-text chat model of transformers, asked one question per image."""

    kind = "AutoModelForImageTextToText"
    usual_model = "llava-hf/llava-1.5-7b-hf"

    def prepare(self, template: str) -> str:
        """The question as a turn of the chat; answers continue it, so padding must stand in front."""
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return _chat_prompt(self._processor, template)

    def tokens(self, images: list[Image.Image]) -> dict[str, torch.Tensor]:
        """One chat of one image each."""
        texts = [self._text] * len(images)
        return _processed(self._processor, [[image] for image in images], texts, like=self._network)

    def prompt_length(self, tokens: dict[str, torch.Tensor]) -> int:
        """The question."""
        return int(tokens["input_ids"].shape[1])


class BlipCaptioner(LocalCaptioner):
    """BLIP: light, follows no instructions; a template such as `a photograph of` steers how captions begin."""

    kind = "BlipForConditionalGeneration"
    usual_model = "Salesforce/blip-image-captioning-base"

    def tokens(self, images: list[Image.Image]) -> dict[str, torch.Tensor]:
        """The images and, where there is one, the beginning of every caption."""
        texts = [self._text] * len(images) if self._text else None
        return _processed(self._processor, images, texts, like=self._network)

    def prompt_length(self, tokens: dict[str, torch.Tensor]) -> int:
        """Nothing: the beginning is part of the caption."""
        return 0


def _load(
    factory: Any, model: str, *, revision: str | None, device: str, precision: Precision
) -> tuple[Any, Any]:
    from transformers import AutoProcessor

    chosen = pick_device(device)
    dtype = DTYPES.get(precision, torch.bfloat16 if chosen.type == "cuda" else torch.float32)
    try:
        with limited_network():
            processor = AutoProcessor.from_pretrained(model, revision=revision)
            network = factory.from_pretrained(model, revision=revision, dtype=dtype)
    except ImportError as error:
        raise BackboneError(
            f"the captioner {model} needs a package that is not installed: {first_line(error).rstrip('.')}.",
            hint="pip install 'hypir[caption]'",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackboneError(
            f"cannot load the captioner {model}: {first_line(error).rstrip('.')}.",
            hint=f"where there is network: hf download {model} --local-dir DIR; then --model DIR",
        ) from error
    return network.to(chosen).eval(), processor


def _roomy(image: Image.Image) -> Image.Image:
    """The image with sides of at least 16 pixels: processors cannot tell a 3x3 image's channels from its rows."""
    if min(image.size) >= 16:
        return image
    return image.resize((max(16, image.width), max(16, image.height)), Image.Resampling.NEAREST)


def _chat_prompt(processor: Any, question: str) -> str:
    if not getattr(processor, "chat_template", None):
        return _PLAIN_CHAT.format(image=processor.image_token, question=question)
    content = [{"type": "image"}, {"type": "text", "text": question}]
    turns = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(turns, add_generation_prompt=True))


def _processed(
    processor: Any, images: Sequence[Any], texts: list[str] | None, *, like: Any
) -> dict[str, torch.Tensor]:
    arguments = {} if texts is None else {"text": texts, "padding": True}
    batch = processor(images=list(images), return_tensors="pt", **arguments)
    moved = {key: value.to(like.device) for key, value in batch.items()}
    return {
        key: value.to(like.dtype) if value.is_floating_point() else value
        for key, value in moved.items()
    }


@torch.inference_mode()
def _generate(network: Any, tokens: dict[str, torch.Tensor], *, max_tokens: int) -> torch.Tensor:
    try:
        answers: torch.Tensor = network.generate(
            **tokens, max_new_tokens=max_tokens, do_sample=False
        )
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"the captioner ran out of memory at {len(tokens['pixel_values'])} images per call.",
            hint="use a smaller --batch, --dtype bf16, or a smaller --model",
        ) from error
    return answers
