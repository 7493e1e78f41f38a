"""A model's answer becomes a prompt about content, not about picture quality."""

from __future__ import annotations

import pytest

from hypir_cli.caption.models.wording import to_prompt, without_quality_words


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        ("A blurry photo of a dog.", "A photo of a dog."),
        ("a blurry and noisy photo of a cat", "A photo of a cat"),
        ("A low-quality, grainy old photo of an oak with heavy noise.", "An old photo of an oak."),
        ("A dog on a beach, 4k, high resolution, masterpiece", "A dog on a beach"),
        ("An out of focus orange flower", "An orange flower"),
        ("A street; the resolution is low.", "A street"),
        ("A university, slightly blurred, in an urban area", "A university, in an urban area"),
        ("This is a high quality photograph of an old house.", "An old house."),
        ("The blurry image shows a dog on a beach.", "A dog on a beach."),
    ],
)
def test_quality_words_are_removed_and_the_grammar_stays(answer: str, prompt: str) -> None:
    assert to_prompt(answer) == prompt


@pytest.mark.parametrize(
    "sentence",
    [
        "The image is blurry and of low quality.",
        "The quality of the image is poor.",
        "Overall, the photo is of high resolution.",
        "It is a bit noisy.",
        "The image's resolution is low, making details hard to see.",
    ],
)
def test_sentences_about_quality_are_removed_whole(sentence: str) -> None:
    assert to_prompt(f"Two boats lie in a harbour. {sentence}") == "Two boats lie in a harbour."
    assert to_prompt(sentence) == ""


@pytest.mark.parametrize(
    "sentence",
    [
        "Two cats sleep on a sofa.",
        "The photo is in black and white.",
        "The scene is well lit and the grass is green.",
        "It is a sunny day.",
        "A sharp knife lies on a wooden table.",
        "Ein Hund läuft über die Wiese.",
    ],
)
def test_sentences_without_quality_words_stay_as_they_are(sentence: str) -> None:
    assert to_prompt(sentence) == sentence
    assert without_quality_words(sentence) == sentence


def test_the_filter_can_be_switched_off() -> None:
    assert to_prompt("A blurry dog.", keep_quality_words=True) == "A blurry dog."


def test_line_breaks_quotes_thoughts_and_unfinished_sentences_go() -> None:
    answer = '<think>What is it?</think>\n"A red car.\nIt stands on a road. Behind it a man wal'
    assert to_prompt(answer) == "A red car. It stands on a road."


def test_a_single_unfinished_sentence_is_better_than_nothing() -> None:
    assert to_prompt("A red car in front of a") == "A red car in front of a"


def test_openings_are_removed() -> None:
    assert to_prompt("In this image, a man rides a horse.") == "A man rides a horse."
    assert to_prompt("The photograph depicts three boats.") == "Three boats."


RED = "A red square on a green field."


@pytest.mark.parametrize(
    "answer",
    [
        f"So the user wants a caption. I look at it.\n</think>\n{RED}",
        f"<think>one</think><think>two</think>{RED}",
        f"<thinking>I see red.</thinking>\n{RED}",
        f"<|channel|>analysis<|message|>Red.<|end|><|start|>assistant<|channel|>final<|message|>{RED}",
        f"{RED}<|im_end|>",
        f"Here is a short factual description of the image:\n\n{RED}",
        f"Here's the caption: {RED}",
        f"Sure! Here is a description of the photo:\n{RED}",
        f"Certainly, {RED}",
        f"Description: {RED}",
        f"**Image description:** {RED}",
        f'**Caption:** "{RED}"',
        f"### Caption\n\n{RED}".replace("### Caption\n\n", "### Caption:\n\n"),
        f"- {RED}",
        f"```text\n{RED}\n```",
        "A **red** square on a *green* field.",
        f"“{RED}”",
        f"`{RED}`",
    ],
)
def test_only_the_caption_stays_of_an_answer(answer: str) -> None:
    assert to_prompt(answer) == RED


@pytest.mark.parametrize("answer", ["<think>never ends", "<|channel|>analysis<|message|>only"])
def test_thoughts_alone_are_no_caption(answer: str) -> None:
    assert to_prompt(answer) == ""


@pytest.mark.parametrize(
    "text",
    [
        'A sign that says "OPEN" on a door.',
        "A clock shows 12:30 above a shop.",
        "A file named my_photo_1 on a screen.",
        "Here are two dogs, one of them black.",
        'A book titled "Dune".',
    ],
)
def test_what_only_looks_like_a_lead_in_or_markup_stays(text: str) -> None:
    assert to_prompt(text) == text
