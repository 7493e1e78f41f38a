"""Captioning models that run here, through transformers: LLaVA and other chat models, and BLIP.

Image processors that ship without torchvision are used when it is absent; LLaVA-OneVision needs it for its video processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image

from hypir_cli.caption.models.base import CaptionInput, Outcome
from hypir_cli.errors import BackboneError, DeviceError
from hypir_cli.models.device import DTYPES, pick_device
from hypir_cli.models.reach import limited_network

LLAVA_MODEL = "llava-hf/llava-1.5-7b-hf"
BLIP_MODEL = "Salesforce/blip-image-captioning-base"
_PLAIN_CHAT = "USER: {image} {question} ASSISTANT:"
"""LLaVA 1.5's own turn format, for model folders without a chat template."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]


class ChatCaptioner:
    """Any image-and-text chat model of transformers, asked one question per image.

    Args:
        model: Folder or hub id.
        question: What is asked.
        revision: Hub revision.
        max_tokens: Longest answer in tokens.
        device: `auto`, `cpu`, `cuda[:N]` or `mps`.
        precision: Number format; auto is bf16 on CUDA and fp32 elsewhere.

    Raises:
        BackboneError: The model cannot be loaded.
    """

    def __init__(
        self,
        model: str = LLAVA_MODEL,
        *,
        question: str,
        revision: str | None = None,
        max_tokens: int = 120,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        from transformers import AutoModelForImageTextToText

        self._network, self._processor = _load(
            AutoModelForImageTextToText,
            model,
            revision=revision,
            device=device,
            precision=precision,
        )
        # Answers continue the prompt, so padding must stand in front of it.
        self._processor.tokenizer.padding_side = "left"
        if self._processor.tokenizer.pad_token is None:
            self._processor.tokenizer.pad_token = self._processor.tokenizer.eos_token
        self._prompt = _chat_prompt(self._processor, question)
        self._max_tokens = max_tokens

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """One greedy answer per image.

        Raises:
            DeviceError: Out of memory.
        """
        images = [[_roomy(item.image)] for item in inputs]
        tokens = _processed(
            self._processor, images, [self._prompt] * len(images), like=self._network
        )
        answers = _generate(self._network, tokens, max_tokens=self._max_tokens)
        prompt_length = tokens["input_ids"].shape[1]
        return _decoded(self._processor, answers[:, prompt_length:])


class BlipCaptioner:
    """BLIP: light, follows no instructions; a prefix steers how captions begin.

    Args:
        model: Folder or hub id.
        prefix: Beginning of every caption, e.g. `a photograph of`; empty leaves the model free.
        revision: Hub revision.
        max_tokens: Longest caption in tokens.
        device: `auto`, `cpu`, `cuda[:N]` or `mps`.
        precision: Number format; auto is bf16 on CUDA and fp32 elsewhere.

    Raises:
        BackboneError: The model cannot be loaded.
    """

    def __init__(
        self,
        model: str = BLIP_MODEL,
        *,
        prefix: str = "",
        revision: str | None = None,
        max_tokens: int = 120,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> None:
        from transformers import BlipForConditionalGeneration

        self._network, self._processor = _load(
            BlipForConditionalGeneration,
            model,
            revision=revision,
            device=device,
            precision=precision,
        )
        self._prefix = prefix
        self._max_tokens = max_tokens

    def caption(self, inputs: Sequence[CaptionInput]) -> list[Outcome]:
        """One greedy caption per image.

        Raises:
            DeviceError: Out of memory.
        """
        images = [_roomy(item.image) for item in inputs]
        texts = [self._prefix] * len(images) if self._prefix else None
        tokens = _processed(self._processor, images, texts, like=self._network)
        answers = _generate(self._network, tokens, max_tokens=self._max_tokens)
        return _decoded(self._processor, answers)


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
            f"the captioner {model} needs a package that is not installed: {_first_line(error)}.",
            hint="pip install 'hypir[caption]'",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackboneError(
            f"cannot load the captioner {model}: {_first_line(error)}.",
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


def _decoded(processor: Any, answers: torch.Tensor) -> list[Outcome]:
    texts: list[Outcome] = [
        text.strip() for text in processor.batch_decode(answers, skip_special_tokens=True)
    ]
    return texts


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
