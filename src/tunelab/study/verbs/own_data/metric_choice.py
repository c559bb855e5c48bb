"""Which metrics `tunelab init` writes: accuracy of labels, else those whose tokenisers find words in the script of the
targets, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tunelab.evaluation.sacre import lacking
from tunelab.evaluation.scripts import JAPANESE, SPACELESS_LETTER, letters, writing
from tunelab.evaluation.unread import unread_notes
from tunelab.study.planning.plan import metric_of
from tunelab.study.verbs.own_data.odd_columns import are_labels

USUAL = ("rouge_l", "bleu")
WITH_TOKENIZER = {"Han": "zh", JAPANESE: "ja-mecab", "Hangul": "ko-mecab"}
"""sacrebleu's choice for Chinese, Japanese and Korean."""
SPACELESS_TOKENIZER = "flores200"
"""For the other scripts without spaces: its sentence pieces were made of texts in Thai, Lao, Khmer and Burmese too."""
FALLBACK = "char"
SPACELESS_SHARE = 0.1
"""Of the letters: then the script without spaces chooses, though most letters are of another."""


LABELS_SHOWN = 4
OF_LABELS = ("accuracy",)


class MetricChoice(NamedTuple):
    names: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    """Lines of comment; empty where the usual ones read every word."""


def choose_metrics(targets: Sequence[str]) -> MetricChoice:
    if are_labels(targets):
        labels = [label for label, _ in Counter(target.strip() for target in targets).most_common()]
        shown = ", ".join(labels[:LABELS_SHOWN]) + (", ..." if len(labels) > LABELS_SHOWN else "")
        reason = f"The targets are {len(labels)} labels ({shown}): accuracy is the share of rows whose label is right."
        return MetricChoice(OF_LABELS, (reason,))
    unread = unread_notes({name: metric_of(name) for name in USUAL}, targets)
    found = letters(targets)
    spaceless = Counter({letter: count for letter, count in found.items() if SPACELESS_LETTER.match(letter)})
    is_spaceless = spaceless.total() > SPACELESS_SHARE * found.total()
    script = writing(spaceless if is_spaceless else found)
    tokenizer = WITH_TOKENIZER.get(script, SPACELESS_TOKENIZER if is_spaceless else "")
    if not unread and not tokenizer:
        return MetricChoice(USUAL)
    absent = lacking(tokenizer)
    bleu = f"bleu:{FALLBACK if absent else tokenizer}" if tokenizer else "bleu"
    names = ("rouge_l:unicode", bleu)
    instead = " and ".join(name for name in USUAL if name not in names)
    reasons = [f"Metrics chosen for the script of the targets ({script}), not {instead}:", *unread]
    if absent:
        reasons.append(f"bleu:{tokenizer} is of words where {bleu} is of characters, and cannot run here: {absent}")
    left = unread_notes({name: metric_of(name) for name in names}, targets)
    return MetricChoice(names, (*reasons, *left))
