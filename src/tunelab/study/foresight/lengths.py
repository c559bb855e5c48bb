"""How long a task's rows are, before a study starts: as its runs will see them where data and tokenizer are on this
machine, from the number of characters where the data alone is, and else not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunelab.config.run import RunConfig
from tunelab.config.schema import ModelSource
from tunelab.contracts import Task
from tunelab.data.examples.splits import split_validation
from tunelab.data.sets.mixture import MixedTask
from tunelab.data.tokens.token_store import sizes
from tunelab.errors import TunelabError
from tunelab.models.configurations import reads_sources
from tunelab.models.load import load_text, local_folder, read_configuration
from tunelab.records import Example, Located, TokenRow
from tunelab.study.executing.prepare import prepare

CHARACTERS = 4
"""Of a token, where there is no tokenizer: about those of English under today's vocabularies."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json")
"""Files of which a tokenizer has one."""
MOST_GUESSED = 20_000
"""Rows of a split whose characters are counted; where there are more, these stand for all."""


class Lengths(NamedTuple):
    """Of all splits. `rows` have the right lengths and no text."""

    train: Sequence[TokenRow]
    validation: Sequence[TokenRow]
    test: Sequence[TokenRow]
    prompts: tuple[int, ...]
    """Tokens of each test prompt."""
    answers: tuple[int, ...]
    """Tokens of each test row's answer."""
    guessed: str = ""
    """What is not the data's own."""


def lengths(task: Task, run: RunConfig) -> Lengths | None:
    """None: the data is not on this machine.

    Raises:
        DataError: it is, and cannot be read.
    """
    if not _on_this_machine(task):
        return None
    folder = text_folder(run.model)
    if folder is not None:
        text = load_text(run.model, Located(folder, run.model_revision))
        data = prepare(task, text, run, training=True)
        answers = sizes(data.test_rows).num_supervised
        prompts = tuple(map(len, data.test_prompts))
        return Lengths(data.train, data.validation, data.test_rows, prompts, tuple(map(int, answers)))
    return _by_characters(task, run)


def _on_this_machine(task: Task) -> bool:
    """The hub is not asked before a study starts."""
    parts = [task.options_of(name) for name in task.sources] if isinstance(task, MixedTask) else [task]
    return all(getattr(part, "path", part) is not None for part in parts)


def text_folder(model: ModelSource) -> Path | None:
    """Where the model's tokenizer is on this machine."""
    with suppress(TunelabError):
        if (folder := local_folder(model)) is not None:
            return folder if any((folder / name).is_file() for name in TOKENIZERS) else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.name, "tokenizer.json", revision=model.revision)
    return Path(found).parent if isinstance(found, str) else None


def _by_characters(task: Task, run: RunConfig) -> Lengths:
    train, validation, test = (task.examples(split) for split in ("train", "validation", "test"))
    if not len(validation):
        train, validation = split_validation(train)
    configuration = read_configuration(run.model)
    pairs = configuration is not None and reads_sources(configuration)
    own, held, scored = (_rows(split, run.batch.max_length, pairs=pairs) for split in (train, validation, test))
    prompts = tuple(_tokens(example.prompt) for example in test[:MOST_GUESSED])
    answers = tuple(_tokens(example.target) for example in test[:MOST_GUESSED])
    said = f"the tokenizer of {run.model.name} is not on this machine: {CHARACTERS} characters count as a token"
    return Lengths(own, held, scored, prompts, answers, said)


def _tokens(text: str) -> int:
    return len(text) // CHARACTERS + 1


def _rows(examples: Sequence[Example], longest: int, *, pairs: bool) -> list[TokenRow]:
    """Views of the same few numbers. A text behind the longest is cut, or of plain text is several rows."""
    sizes = [(_tokens(each.prompt) if each.prompt else 0, _tokens(each.target)) for each in examples[:MOST_GUESSED]]
    cut = [part for asked, learned in sizes for part in _parts(asked, learned, longest)]
    repeated = [cut[place % len(cut)] for place in range(round(len(cut) * len(examples) / max(1, len(sizes))))]
    return list(_views(repeated, longest, pairs=pairs))


def _parts(asked: int, learned: int, longest: int) -> Iterable[tuple[int, int]]:
    if not asked:
        yield from ((0, min(longest, learned - start)) for start in range(0, learned, longest))
    else:
        asked = min(asked, longest // 2)
        yield asked, min(learned, longest - asked)


def _views(sizes: Sequence[tuple[int, int]], longest: int, *, pairs: bool) -> Iterable[TokenRow]:
    ids = np.ones(2 * longest, np.int32)
    supervised = np.repeat([False, True], longest)
    for place, (asked, learned) in enumerate(sizes):
        if pairs:
            yield TokenRow(place, ids[:learned], supervised[longest : longest + learned], ids[: max(1, asked)])
        else:
            yield TokenRow(place, ids[: asked + learned], supervised[longest - asked : longest + learned])


def unknown_lengths(run: RunConfig) -> Lengths:
    """Of data that is not here: an epoch of as many rows as the steps take, all of them as long as may be. There is
    nothing to say of its evaluation."""
    configuration = read_configuration(run.model)
    pairs = configuration is not None and reads_sources(configuration)
    longest = run.batch.max_length
    asked = longest if pairs else longest // 2
    sizes = [(asked, longest - asked if not pairs else longest)] * (run.batch.examples * (run.budget.steps or 1))
    said = (
        f"the data is not on this machine: rows are taken to be as long as batch.max_length ({longest}), no test rows"
    )
    return Lengths(list(_views(sizes, longest, pairs=pairs)), (), (), (), (), said)
