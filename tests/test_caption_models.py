"""Captioners that run here, with tiny random models of the real classes and their real processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from hypir_cli.caption.models.base import CaptionInput
from hypir_cli.caption.models.local import BlipCaptioner, ChatCaptioner
from hypir_cli.caption.models.registry import build_captioner
from hypir_cli.config.caption import CaptionerConfig
from hypir_cli.errors import BackboneError, DeviceError

WORDS = [
    "USER",
    ":",
    "ASSISTANT",
    "What",
    "is",
    "it",
    "?",
    "a",
    "red",
    "blue",
    "square",
    "dog",
    "house",
    "of",
    "photograph",
]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<video>"]
WIDTHS = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
CHAT = (
    "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
    "{% else %} {{ c['text'] }}{% endif %}{% endfor %}{% endfor %} ASSISTANT:"
)


def picture(color: str, size: tuple[int, int] = (40, 30)) -> CaptionInput:
    return CaptionInput(image=Image.new("RGB", size, color))


def tokenizer() -> Any:
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>", "<video>"],
    )


def language(kind: type[Any]) -> Any:
    return kind(
        **WIDTHS,
        vocab_size=len(SPECIAL) + len(WORDS),
        num_hidden_layers=1,
        num_key_value_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def vision(kind: type[Any]) -> Any:
    return kind(**WIDTHS, num_hidden_layers=2, image_size=28, patch_size=14)


def save_llava(folder: Path, *, chat_template: str | None) -> None:
    config = transformers.LlavaConfig(
        vision_config=vision(transformers.CLIPVisionConfig),
        text_config=language(transformers.LlamaConfig),
        image_token_index=SPECIAL.index("<image>"),
    )
    torch.manual_seed(0)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    )
    transformers.LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template,
    ).save_pretrained(folder)


def save_onevision(folder: Path) -> None:
    size = {"height": 28, "width": 28}
    pinpoints = [[28, 28], [28, 56], [56, 28]]
    config = transformers.LlavaOnevisionConfig(
        vision_config=vision(transformers.SiglipVisionConfig),
        text_config=language(transformers.Qwen2Config),
        image_token_index=SPECIAL.index("<image>"),
        video_token_index=SPECIAL.index("<video>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    transformers.LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)
    transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(
            size=size, image_grid_pinpoints=pinpoints
        ),
        video_processor=transformers.LlavaOnevisionVideoProcessor(size=size),
        tokenizer=tokenizer(),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=CHAT,
    ).save_pretrained(folder)


def save_blip(folder: Path) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    text = transformers.BlipTextConfig(
        **WIDTHS,
        vocab_size=len(vocabulary),
        encoder_hidden_size=16,
        num_hidden_layers=1,
        projection_dim=8,
        pad_token_id=0,
        bos_token_id=vocabulary.index("[DEC]"),
        sep_token_id=vocabulary.index("[SEP]"),
        eos_token_id=vocabulary.index("[SEP]"),
    )
    images = transformers.BlipVisionConfig(
        **WIDTHS, num_hidden_layers=1, image_size=32, patch_size=16, projection_dim=8
    )
    torch.manual_seed(0)
    config = transformers.BlipConfig(text_config=text.to_dict(), vision_config=images.to_dict())
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    words = {word: index for index, word in enumerate(vocabulary)}
    transformers.BlipProcessor(
        transformers.BlipImageProcessor(size={"height": 32, "width": 32}),
        transformers.BertTokenizer(vocab=words, bos_token="[DEC]", do_lower_case=False),
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    save_llava(folder, chat_template=CHAT)
    return folder


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip")
    save_blip(folder)
    return folder


def test_llava_answers_each_image_of_a_batch_as_it_answers_it_alone(llava: Path) -> None:
    captioner = ChatCaptioner(str(llava), template="What is it ?", max_tokens=6)
    inputs = [picture("red"), picture("blue", (64, 20)), picture("white", (20, 64))]
    together = captioner.caption(inputs)
    assert together == [captioner.caption([item])[0] for item in inputs]
    assert all(isinstance(answer, str) for answer in together)


def test_the_question_is_not_part_of_the_answer(llava: Path) -> None:
    (answer,) = ChatCaptioner(str(llava), template="What is it ?", max_tokens=4).caption(
        [picture("red")]
    )
    assert isinstance(answer, str)
    assert "USER" not in answer[:4]
    assert len(answer.split()) <= 4


def test_llava_without_a_chat_template_is_asked_in_its_own_format(tmp_path: Path) -> None:
    save_llava(tmp_path, chat_template=None)
    with_template, plain = tmp_path / "with", tmp_path
    with_template.mkdir()
    save_llava(with_template, chat_template=CHAT)
    answers = [
        ChatCaptioner(str(folder), template="What is it ?", max_tokens=6).caption([picture("red")])
        for folder in (with_template, plain)
    ]
    assert answers[0] == answers[1]


def test_onevision_answers_images_of_any_shape(tmp_path: Path) -> None:
    save_onevision(tmp_path)
    captioner = ChatCaptioner(str(tmp_path), template="What is it ?", max_tokens=6)
    inputs = [picture("red"), picture("blue", (90, 20))]
    answers = captioner.caption(inputs)
    assert answers == [captioner.caption([item])[0] for item in inputs]


def test_an_image_of_one_pixel_is_captioned(llava: Path, blip: Path) -> None:
    for captioner in (
        ChatCaptioner(str(llava), template="What is it ?", max_tokens=2),
        BlipCaptioner(str(blip), max_tokens=2),
    ):
        assert len(captioner.caption([picture("red", (1, 1)), picture("red", (3, 900))])) == 2


def test_blip_captions_a_batch_as_it_captions_each_image(blip: Path) -> None:
    captioner = BlipCaptioner(str(blip), max_tokens=6)
    inputs = [picture("red"), picture("blue", (64, 20))]
    assert captioner.caption(inputs) == [captioner.caption([item])[0] for item in inputs]


def test_a_blip_caption_begins_with_its_prefix(blip: Path) -> None:
    captioner = BlipCaptioner(str(blip), template="a photograph of", max_tokens=6)
    for answer in captioner.caption([picture("red"), picture("blue")]):
        assert isinstance(answer, str)
        assert answer.startswith("a photograph of")


def test_settings_reach_the_models(llava: Path, blip: Path) -> None:
    chat = CaptionerConfig(kind="llava", model=str(llava), max_tokens=3, device="cpu", dtype="bf16")
    assert len(build_captioner(chat).caption([picture("red")])) == 1
    light = CaptionerConfig(kind="blip", model=str(blip), max_tokens=3, template="a dog")
    (answer,) = build_captioner(light).caption([picture("red")])
    assert isinstance(answer, str)
    assert answer.startswith("A dog")


def test_a_model_that_cannot_be_had_is_an_error_with_the_offline_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for kind in ("llava", "blip"):
        with pytest.raises(BackboneError, match="nobody/nothing") as caught:
            build_captioner(CaptionerConfig(kind=kind, model="nobody/nothing"))
        assert "--model DIR" in caught.value.hint
        assert "\n" not in caught.value.message


def test_a_folder_with_another_kind_of_model_is_an_error(tmp_path: Path, blip: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(BackboneError, match="cannot load"):
        ChatCaptioner(str(tmp_path), template="?")


def test_running_out_of_memory_says_what_to_change(
    llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    captioner = ChatCaptioner(str(llava), template="What is it ?")
    monkeypatch.setattr(transformers.LlavaForConditionalGeneration, "generate", full)
    with pytest.raises(DeviceError, match="1 images") as caught:
        captioner.caption([picture("red")])
    assert "--batch" in caught.value.hint
