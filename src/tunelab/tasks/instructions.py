"""Instructions and conversations: Alpaca, Tulu v2 and UltraChat, as the model's own chat template writes them.

5,000 rows of each to train on and 2,000 to test on. Every answer of a conversation is learned (or the last one alone),
the last one is generated and scored. Test rows that agree in every turn before the last answer are one example with
several references.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from tunelab.data.examples.chat_rows import TrainOn, chat_examples
from tunelab.data.examples.conversations import alpaca_turns, question, read_turns, system_in_front
from tunelab.data.sets.mixture import MixedTask, SetOptions, SetRows, Split
from tunelab.data.sets.named import source_rows
from tunelab.records import Example, Turn

Name = Literal["alpaca", "tulu_v2", "ultrachat_200k"]
Row = Mapping[str, Any]


class InstructionSet(SetOptions):
    train: PositiveInt | None = 5000
    test: PositiveInt | None = 2000


class Instructions(MixedTask):
    name: str = "instructions"

    sources: tuple[Name, ...] = ("alpaca", "tulu_v2", "ultrachat_200k")
    """Which data sets."""

    alpaca: InstructionSet = InstructionSet()
    """Taori et al. 2023: the user says the instruction, or 'INSTRUCTION\\n\\nInput: INPUT' where there is an input."""

    tulu_v2: InstructionSet = InstructionSet()
    """Ivison et al. 2023 (arXiv:2311.10702): system text begins the first user's turn, an empty line between."""

    ultrachat_200k: InstructionSet = InstructionSet()
    """Tunstall et al. 2023 (arXiv:2310.16944): turns of other roles than user and assistant are left out."""

    train_on: TrainOn = "all"
    """`all` learns every turn of the assistant, `last` the last of each conversation."""

    metrics: tuple[str, ...] = ("rouge_l", "bleu")

    hidden_at_default: ClassVar[tuple[str, ...]] = ("train_on",)

    def examples(self, split: Split) -> Sequence[Example]:
        """`validation` is empty: the study holds rows of train out."""
        return [] if split == "validation" else super().examples(split)

    def notes(self, split: Split) -> list[str]:
        return [] if split == "validation" else super().notes(split)

    def question(self, given: str | Mapping[str, Any], *, name: str) -> Example:
        return question(given if isinstance(given, str) else read_turns(given, "messages", row_name=name), name=name)

    def set_rows(self, name: str, split: Split) -> SetRows:
        options = self.options_of(name)
        rows = source_rows(name, split, path=options.path, n=getattr(options, split), seed=self.seed)
        source = f"{options.path or name} ({split})"
        chats = chat_examples(
            rows, READ[name], split=split, source=source, group=split == "test", train_on=self.train_on
        )
        return SetRows(chats.examples, chats.counts.notes(f"{split}, {name}"))


def _alpaca(row: Row, row_name: str) -> list[Turn]:
    return alpaca_turns(row, row_name=row_name)


def _tulu(row: Row, row_name: str) -> list[Turn]:
    return system_in_front(read_turns(row, "messages", row_name=row_name))


def _ultrachat(row: Row, row_name: str) -> list[Turn]:
    turns = read_turns(row, "messages", row_name=row_name, skip_other_roles=True)
    return [turn for turn in turns if turn.role != "system"]


READ: dict[str, Callable[[Row, str], list[Turn]]] = {
    "alpaca": _alpaca,
    "tulu_v2": _tulu,
    "ultrachat_200k": _ultrachat,
}
