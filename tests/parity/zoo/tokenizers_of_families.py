"""Tokenizers in the styles of the families, trained on a few sentences; no vocabulary is downloaded.

Each is what a model's own tokenizer.json would hold: normalizer, splitting, model, and what is put around a text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import MBartTokenizer, PreTrainedTokenizerFast

CORPUS = [
    "The mill stands by the river, near the old town.",
    "People walk to the market: bread, fish and 12 apples.",
    "Where is the mill? By the river. And the inn? Next to it, near the bridge.",
    "Who bakes the bread? The baker bakes it before 6 o'clock, every day but Sunday.",
    "select name from people where age is 30",
    "You know the town. Answer in one short sentence.",
] * 3
SIZE = 320
QUIET: dict[str, Any] = {"show_progress": False}


def _fast(tokenizer: Tokenizer, **names: object) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


def around(tokenizer: PreTrainedTokenizerFast, template: str) -> PreTrainedTokenizerFast:
    """Let it put special tokens around a text by itself, as '<s> $A </s>'."""
    names = [piece for piece in template.split() if piece != "$A"]
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in names]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return tokenizer


def byte_level(special: Sequence[str], *, template: str = "", **names: str) -> PreTrainedTokenizerFast:
    """GPT-2's: every text is its bytes, so there is no unknown token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(**QUIET, vocab_size=SIZE, special_tokens=list(special), initial_alphabet=alphabet)
    made.train_from_iterator(CORPUS, trainer)
    fast = _fast(made, **names)
    return around(fast, template) if template else fast


def byte_fallback(special: Sequence[str], *, template: str, **names: str) -> PreTrainedTokenizerFast:
    """LLaMA-2's: blanks are letters, one stands in front of every text, and what is unknown is spelled in bytes."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(**QUIET, vocab_size=SIZE - 256 - len(special)))
    merges = [tuple(pair) for pair in _merges(trained)]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(trained.get_vocab())]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    made.decoder = decoders.Sequence(steps)
    made.add_special_tokens(list(special))
    return around(_fast(made, unk_token="<unk>", **names), template)


def _merges(trained: Tokenizer) -> list[list[str]]:
    return json.loads(trained.to_str())["model"]["merges"]


def unigram(special: Sequence[str], *, template: str, **names: str) -> PreTrainedTokenizerFast:
    """T5's: pieces with a mark for a blank; what no sentence of the corpus holds is <unk>."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(**QUIET, vocab_size=SIZE, special_tokens=list(special), unk_token="<unk>")
    made.train_from_iterator(CORPUS, trainer)
    return around(_fast(made, unk_token="<unk>", **names), template)


def word_piece() -> PreTrainedTokenizerFast:
    """BERT's: lower case, pieces that go on begin with ##, [CLS] and [SEP] around every text."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(cleanup=False)
    made.train_from_iterator(CORPUS, trainers.WordPieceTrainer(**QUIET, vocab_size=SIZE, special_tokens=special))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    return around(_fast(made, **names), "[CLS] $A [SEP]")


def two_languages() -> MBartTokenizer:
    """mBART's own class, which ends a source with its language and a target with another."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainers.UnigramTrainer(**QUIET, vocab_size=SIZE, unk_token="<unk>"))
    scores = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"] if piece != "<unk>"]
    vocabulary = [*((piece, 0.0) for piece in special), *scores]
    return MBartTokenizer(vocab=vocabulary, src_lang="en_XX", tgt_lang="ro_RO")
