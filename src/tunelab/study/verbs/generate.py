"""Text from a saved or base model, for prompts that a user gives."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunelab.config.run import RunConfig
from tunelab.config.schema import (
    BatchSettings,
    Budget,
    Checkpoint,
    DataSettings,
    Generation,
    Loss,
    Optimizer,
    Schedule,
    Validation,
)
from tunelab.data.examples.formats import asked
from tunelab.data.reading.values import parse_json
from tunelab.data.tokens.tokenise import Tokeniser
from tunelab.errors import ConfigError, DataError
from tunelab.records import Decoded, Example
from tunelab.stages import stage
from tunelab.study.executing.saved import Saved, find_saved, open_saved
from tunelab.study.planning.plan import load_backend, parts

LONGEST_PROMPT = 1_000_000
"""Tokenizers without a limit of their own give a much larger number."""

Prompt = str | Mapping[str, Any]
"""Text, or a row whose columns fill the prompt template of the run's task."""


def generate(
    model: str, prompts: Sequence[Prompt], *, max_new_tokens: int | None = None, beams: int | None = None
) -> list[str]:
    """One text a prompt. A run's model is asked as it was trained: in its prompt template where that has one column, as
    the user's turn of a conversation; every other model is given the text as it is.

    Raises:
        ConfigError, DataError, ModelError: no prompt, a row without the template's columns, a model that is not here.
    """
    if not prompts:
        raise ConfigError("no prompt given: use --prompt, --file, or standard input")
    saved = find_saved(model)
    run = _settings(saved, max_new_tokens=max_new_tokens, beams=beams)
    examples = [_asked(prompt, saved, name=f"prompt {number}") for number, prompt in enumerate(prompts, 1)]
    with stage(f"loading {model}"):
        opened = open_saved(saved, run)
    tokenizer = opened.text.tokenizer
    length = min(tokenizer.model_max_length, LONGEST_PROMPT)
    pairs = opened.text.encoder_decoder
    tokeniser = Tokeniser(tokenizer, max_length=length, encoder_decoder=pairs, settings=run.data, split="test")
    ids = list(tokeniser.prompts(examples))
    with stage(f"writing {len(ids)} texts") as say:
        done = 0

        def tell(decoded: Decoded) -> None:
            nonlocal done
            done += len(decoded.texts)
            say(f"writing texts: {done} of {len(ids)}")

        new = opened.session.generate(ids, run.generation, progress=tell)
    return [tokenizer.decode(one, skip_special_tokens=True).strip() for one in new]


def read_prompts(*, prompt: str | None = None, file: Path | None = None) -> list[Prompt]:
    """Prompts from an option, a file, or standard input: one a line; in .jsonl a JSON text or a row of columns a line.

    Raises:
        ConfigError: both given. DataError: the file cannot be read.
    """
    if prompt is not None and file is not None:
        raise ConfigError("give --prompt or --file, not both")
    if prompt is not None:
        return [prompt]
    try:
        text = sys.stdin.read() if file is None else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as UTF-8 text ({error})") from None
    lines = [line for line in text.split("\n") if line.strip()]
    if file is None or file.suffix != ".jsonl":
        return lines
    return [_json_prompt(line, f"{file}:{number}") for number, line in enumerate(lines, 1)]


def _json_prompt(line: str, where: str) -> Prompt:
    try:
        value = parse_json(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not valid JSON ({error.msg})") from None
    if not isinstance(value, str | dict):
        raise DataError(f"{where}: each line must be a JSON text or an object {{column: value}}")
    return value


def _asked(prompt: Prompt, saved: Saved, *, name: str) -> Example:
    if saved.run is None:
        return asked(prompt, None, name=name)
    task = parts(saved.run).task
    return task.question(prompt, name=name) or asked(prompt, getattr(task, "prompt", None), name=name)


def _settings(saved: Saved, *, max_new_tokens: int | None, beams: int | None) -> RunConfig:
    options = {"max_new_tokens": max_new_tokens, "beams": beams}
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    if saved.run is not None:
        return saved.run.model_copy(update={"generation": saved.run.generation.model_copy(update=given)})
    precision, threads = load_backend("torch").resolve(precision="auto", threads=None)
    return RunConfig(
        id="generate",
        backend="torch",
        task="",
        task_options={},
        seed=0,
        method=saved.facts,
        model=saved.source,
        model_revision="",
        data_revision="",
        budget=Budget(epochs=1),
        batch=BatchSettings(),
        data=DataSettings(special_tokens="control"),  # whoever asks a model without a study writes its format himself
        precision=precision,
        threads=threads,
        activation_checkpointing=False,
        optimizer=Optimizer(),
        schedule=Schedule(),
        loss=Loss(),
        validation=Validation(),
        generation=Generation(**given),
        checkpoint=Checkpoint(),
    )
