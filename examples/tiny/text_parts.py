"""The text parts of `tiny`: a byte-pair tokenizer learned from captions and an untrained encoder.

No stage trains the text encoder yet, and the denoiser's cross-attention adds nothing, so a prompt changes nothing. The parts
are there so that training with captions can start from the same folder.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

from hypir_cli.models.backbones.tiny.text import TinyTextConfig, TinyTextEncoder

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""Pieces that byte pairs never cross: contractions, words, digits, runs of signs."""


def learn_tokenizer(captions: Iterable[str], *, vocab_size: int, length: int) -> Tokenizer:
    """CLIP-like byte-level tokenizer: lower case, padded and cut to `length` ids."""
    tokenizer = Tokenizer(
        models.BPE(unk_token=END, end_of_word_suffix="</w>", continuing_subword_prefix="")
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    marks = [(token, tokenizer.token_to_id(token)) for token in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=marks
    )
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=marks[1][1], pad_token=END)
    return tokenizer


def new_text_encoder(tokenizer: Tokenizer, *, seed: int) -> TinyTextEncoder:
    """An untrained encoder that fits the tokenizer."""
    torch.manual_seed(seed)
    return TinyTextEncoder(TinyTextConfig(vocab_size=tokenizer.get_vocab_size()))
