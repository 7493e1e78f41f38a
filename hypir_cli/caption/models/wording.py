"""From a model's answer to a prompt: one line, no opening phrases, no claims about picture quality.

A restoration prompt should say what is in the picture. "A blurry photo of a dog" would ask the restorer for blur.
"""

from __future__ import annotations

import re

_ADVERB = r"(?:(?:very|quite|somewhat|slightly|rather|a bit|a little|extremely|heavily|highly|ultra)[ -])?"
_QUALITY = (
    r"(?:blurry|blurred|unfocused|out[ -]of[ -]focus|in focus|in sharp focus|noisy|grainy|pixelated|pixellated|"
    r"jpeg[ -]compressed|over-?compressed|degraded|distorted|low[ -]?res(?:olution)?|high[ -]?res(?:olution)?|"
    r"(?:low|poor|bad|high|good|best|great|excellent|top|professional)[ -]quality|low[ -]detail|"
    r"(?:high(?:ly)?|ultra|extremely)[ -]detailed|[48]k(?: resolution)?|u?hd|hdr|sharp focus|masterpiece|"
    r"photo-?realistic|hyper-?realistic|award[ -]winning)"
)
_CLAIM = rf"{_ADVERB}{_QUALITY}"
_FLAW = (
    r"(?:(?:visible|some|heavy|slight|strong|jpeg|compression|motion|image|digital|film|a lot of)\s+)*"
    r"(?:noise|grain|blur|blurriness|artifacts|artefacts|pixelation|compression|distortion|"
    r"(?:low|poor|high|good|bad) (?:quality|resolution|detail))"
)
_PICTURE = r"(?:image|photo|photograph|picture|shot|scene|snapshot)"
_VERBS = r"(?:shows|depicts|features|captures|displays|presents|portrays|is of|contains|appears to show|appears to be)"

_OPENING = re.compile(
    rf"^(?:(?:in\s+)?(?:the|this|an?)\s+(?:[\w-]+,?\s+){{0,4}}?{_PICTURE},?\s+{_VERBS}\s+(?:us\s+)?|"
    rf"this is\s+(?:an?\s+)?(?:[\w-]+,?\s+){{0,6}}?{_PICTURE} of\s+)",
    re.IGNORECASE,
)
_OPENING_THERE = re.compile(rf"^in (?:the|this) {_PICTURE},?\s+", re.IGNORECASE)
_ASPECT = r"(?:quality|resolution|focus|sharpness)"
_ABOUT_PICTURE = re.compile(
    rf"^(?:overall,?\s+)?(?:it|(?:the|this|its)\s+(?:overall\s+|entire\s+)?"
    rf"(?:{_PICTURE}(?:'s)?(?:\s+itself)?(?:\s+{_ASPECT})?|{_ASPECT}(?:\s+of\s+(?:the|this)\s+{_PICTURE})?))\s+"
    r"(?:is|was|has|seems|looks|appears|suffers|contains|shows)\b",
    re.IGNORECASE,
)
_ANY_CLAIM = re.compile(rf"\b(?:{_CLAIM}|{_FLAW}|quality|resolution|sharpness)\b", re.IGNORECASE)
_WITH_FLAWS = re.compile(
    rf",?\s*\b(?:with|in|of|at)\s+{_FLAW}(?:(?:,\s*|\s+and\s+|,\s*and\s+){_FLAW})*\b", re.IGNORECASE
)
_LISTED = re.compile(rf"(?:(?<=,)|^)\s*(?:{_CLAIM}|{_FLAW})\s*(?:,|(?=[.;]|$))", re.IGNORECASE)
_ADJECTIVES = re.compile(
    rf"\b{_CLAIM}(?:(?:\s*,\s*and\s+|\s*,\s*|\s+and\s+|\s+but\s+|\s+){_CLAIM})*(?:\s+and\b(?!\s+(?:a|an|the)\b)|\s*,(?=\s*\w+\s+\w))?",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"\b(an?)\s+(?=([a-z]+))", re.IGNORECASE)
_SILENT_OR_HARD = re.compile(
    r"(?:hour|honest|heir|honou?r)|(?:uni|use|eu|one\b|once\b)", re.IGNORECASE
)


def to_prompt(answer: str, *, keep_quality_words: bool = False) -> str:
    """A model's answer as a prompt: one line without opening phrase, quotes or an unfinished last sentence.

    Args:
        answer: What the model said.
        keep_quality_words: Leave claims about the picture's quality in.

    Returns:
        The prompt; empty when the answer held nothing else than such claims.
    """
    text = _without_lead_in(_without_markup(_without_thoughts(answer)))
    text = " ".join(text.split())
    text = _finished(_unquoted(text))
    if not keep_quality_words:
        text = without_quality_words(text)
    return _capitalised(_OPENING_THERE.sub("", _OPENING.sub("", text)))


def _without_thoughts(answer: str) -> str:
    """What stands after a model's thoughts, however it marks them; nothing where only thoughts came."""
    if "<|channel|>" in answer:
        answer = answer.rpartition("<|message|>")[2] if "final" in answer else ""
    answer = re.sub(r"<\|[^|>]*\|>", " ", answer)
    for tag in ("think", "thinking", "reasoning", "thought"):
        answer = re.sub(rf"<{tag}>.*?(?:</{tag}>|$)", " ", answer, flags=re.DOTALL)
        answer = answer.rpartition(f"</{tag}>")[2]
    return answer


def _without_markup(text: str) -> str:
    """Plain text of Markdown: no fences, headings, list marks, emphasis or links."""
    text = re.sub(r"^\s*```\w*\s*$", " ", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*(?:#{1,6}|>|[-*+•]|\d+[.)])\s+", "", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"\2", text)
    return re.sub(r"(?<!\w)([*_`])(?=\S)([^*_`\n]+?)(?<=\S)\1(?!\w)", r"\2", text)


_LEAD_IN = re.compile(
    r"^\s*(?:(?:sure|certainly|of course|okay|ok|absolutely)[,!.:]?\s+)?"
    r"(?:(?:here(?:'s| is| are)|this is|below is|the following is)\b[^.!?\n]{0,120}?"
    r"|(?:the\s+)?(?:(?:short|brief|factual|image|photo|suggested|final)\s+)*"
    r"(?:caption|description|prompt|answer|output|response|alt[ -]text))\s*:\s*",
    re.IGNORECASE,
)
_POLITE = re.compile(r"^\s*(?:sure|certainly|of course|absolutely)[!,.]\s+", re.IGNORECASE)


def _without_lead_in(text: str) -> str:
    """The text without phrases that announce it."""
    before = ""
    while text != before:
        before, text = text, _POLITE.sub("", _LEAD_IN.sub("", text))
    return text


def _unquoted(text: str) -> str:
    """The text without quotation marks around all of it."""
    for first, last in (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’"), ("`", "`"), ("«", "»")):
        inner = text[len(first) : -len(last)]
        if len(text) > 1 and text[0] == first and text[-1] == last and first not in inner:
            return inner.strip()
    # A mark without its partner was cut off, or is meant.
    return text.strip('"“”` ') if text.count('"') == 1 or text[:1] in "“”`" else text.strip()


def without_quality_words(text: str) -> str:
    """The text without adjectives, phrases and whole sentences about how good the picture is."""
    sentences = re.split(r"(?<=[.!?;])\s+", _OPENING.sub("", text))
    kept = [cleaned for sentence in sentences if (cleaned := _clean_sentence(sentence))]
    return " ".join(kept)


def _clean_sentence(sentence: str) -> str:
    if _ABOUT_PICTURE.match(sentence) and _ANY_CLAIM.search(sentence):
        return ""
    text = _WITH_FLAWS.sub("", sentence)
    text = _LISTED.sub("", text)
    text = _ADJECTIVES.sub("", text)
    text = re.sub(r"\s+([,.;!?])", r"\1", text)
    text = re.sub(r"(?:,\s*)+([.;!?]|$)", r"\1", text)
    text = re.sub(r"\b(?:is|are|was|were|looks?|appears?)\s*(?=[.!?]|$)", "", text)
    text = " ".join(text.split()).strip(",; ")
    if not re.search(r"\w", text) or (
        text != sentence and len(text.split()) < 2 < len(sentence.split())
    ):
        return ""
    if text == sentence:
        return text
    return _capitalised(_articles(text)) if sentence[:1].isupper() else _articles(text)


def _articles(text: str) -> str:
    """`a`/`an` agree with the word that now follows."""

    def agreed(match: re.Match[str]) -> str:
        word = match[2]
        vowel = word[0].lower() in "aeiou"
        if _SILENT_OR_HARD.match(word):
            vowel = word[0].lower() == "h"
        article = "an" if vowel else "a"
        return (article.capitalize() if match[1][0].isupper() else article) + " "

    return _ARTICLE.sub(agreed, text)


def _finished(text: str) -> str:
    """Without the last sentence where the token limit cut it, if another one stands before it."""
    if not text or text[-1] in ".!?":
        return text
    end = max(text.rfind(mark) for mark in (". ", "! ", "? "))
    return text[: end + 1] if end > 0 else text


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
