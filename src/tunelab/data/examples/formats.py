"""Rows -> examples: a prompt and a target template over the row's columns, equal prompts grouped where asked."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import AfterValidator, BeforeValidator

from tunelab.data.reading.lazy import Lazy, Selected
from tunelab.errors import DataError
from tunelab.near import did_you_mean
from tunelab.records import Example, Span

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_MARKER = re.compile(r"[<\[]")
"""Every special token that a tokenizer has begins so."""


class Template(NamedTuple):
    """Text with `{column}` in it, and nothing else: no attributes, indices or format specifications."""

    text: str
    pieces: tuple[str, ...]
    """Literal text at even positions, column names at odd ones."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names, in order of appearance."""
        return tuple(dict.fromkeys(self.pieces[1::2]))

    def fill(self, row: Mapping[str, Any], *, row_name: str) -> str:
        """The text for one row. `row_name` begins the message, as in 'train.jsonl: row 3'.

        Raises:
            DataError: no such column, or a value that is a list or an object.
        """
        return "".join(self._filled(row, row_name))

    def own_words(self, row: Mapping[str, Any], *, row_name: str) -> tuple[Span, ...]:
        """Where the template's own words stand in that text, of those that may hold a special token."""
        if not self.has_markers:
            return ()
        stops = list(accumulate(map(len, self._filled(row, row_name))))
        spans = list(zip([0, *stops[:-1]], stops, strict=True))
        own = zip(spans[::2], self.pieces[::2], strict=True)
        return tuple(span for span, piece in own if _MARKER.search(piece))

    @property
    def has_markers(self) -> bool:
        return any(_MARKER.search(piece) for piece in self.pieces[::2])

    def _filled(self, row: Mapping[str, Any], row_name: str) -> list[str]:
        filled = list(self.pieces)
        for position in range(1, len(filled), 2):
            value = row.get(filled[position])
            filled[position] = value if type(value) is str else _value_text(row, filled[position], row_name)
        return filled


def parse_template(text: str) -> Template:
    """Raises ValueError (what pydantic's validators expect) for a brace without its partner."""
    pieces, start, literal = [], 0, ""
    for token in _TOKEN.finditer(text):
        literal += text[start : token.start()]
        start = token.end()
        if token.group() in ("{{", "}}"):
            literal += token.group()[0]
        elif token.group(1):
            pieces += [literal, token.group(1)]
            literal = ""
        else:
            raise ValueError(
                f"{token.group()!r} in {text!r} is not '{{column}}'; write '{{{{' or '}}}}' for a brace itself"
            )
    return Template(text, (*pieces, literal + text[start:]))


def _quoted(value: Any) -> Any:
    if isinstance(value, Mapping):
        columns = "".join(f"{{{name}}}" for name in value)
        raise ValueError(f'{columns} without quotes is a mapping in YAML; write "{columns}"')
    return value


def _with_columns(text: str) -> str:
    if not parse_template(text).columns:
        raise ValueError(f"{text!r} names no column, so it is the same for every row; write it as '{{column}}'")
    return text


TemplateText = Annotated[str, BeforeValidator(_quoted), AfterValidator(_with_columns)]
"""A task's field that holds a template: text in a study, checked when the study is planned."""


class Formatted(NamedTuple):
    examples: Sequence[Example]
    """Made when asked for, so that they take no memory; grouped ones are a list."""
    num_rows: int
    """Rows that were read."""
    num_empty_targets: int
    """Rows left out because their target is empty or only whitespace."""


def format_rows(
    rows: Sequence[Mapping[str, Any]], *, prompt: str | None, target: str, split: str, source: str, group: bool = False
) -> Formatted:
    """Fill the templates for every row: once here, which checks them, and again whenever an example is asked for. Lazy
    rows remember that they were checked.

    Args:
        prompt: template; None for plain text, whose prompt is empty.
        target: template.
        split: begins the ids: 'test-000012' is row 12 of the source, counted from 0, whatever was left out.
        source: file or data set, for messages.
        group: rows with equal prompts become one example, at the place of the first, with all their targets as
            references, equal ones too (the E2E scorers count them). Plain text is never grouped.

    Raises:
        DataError: no such column, a value that is no text, or no row with a target.
    """
    prompt_template = parse_template(prompt) if prompt is not None else None
    every = _Filled(rows, prompt_template, parse_template(target), split=split, source=source)
    if group and prompt_template:
        kept, num_kept = _grouped(every)
    else:
        known = rows.known if isinstance(rows, Lazy) else {}
        places = known.get((prompt, target))
        if places is None:
            places = array("q", (place for place, example in enumerate(every) if example.target.strip()))
            known[prompt, target] = places
        num_kept = len(places)
        kept = every if num_kept == len(every) else Selected(every, np.frombuffer(places, np.int64))
    if not num_kept:
        raise DataError(f"{source}: all {len(rows)} rows have an empty target; check the template {target!r}")
    return Formatted(kept, len(rows), len(rows) - num_kept)


def asked(given: str | Mapping[str, Any], prompt: str | None, *, name: str) -> Example:
    """What a model is asked when a user gives a text, or a row of columns; a text fills a template of one column, and
    one of several where it is a JSON object of them.

    Raises:
        DataError: a row without a template, or without its columns; a text for several columns. `name` begins the
            message.
    """
    template = None if prompt is None else parse_template(prompt)
    if isinstance(given, str):
        if template is None or not template.columns:
            return Example(name, given, "")
        given = {template.columns[0]: given} if len(template.columns) == 1 else _row(given, template, name)
    if template is None:
        raise DataError(f"{name}: is a row of columns, and there is no template to fill with them; give a text")
    control = template.own_words(given, row_name=name)
    return Example(name, template.fill(given, row_name=name), "", control=(control, ()))


def _row(text: str, template: Template, name: str) -> Mapping[str, Any]:
    """A text that is a row as JSON."""
    try:
        row = json.loads(text)
    except json.JSONDecodeError:
        row = None
    if isinstance(row, dict):
        return row
    columns = ", ".join(f'"{column}": "..."' for column in template.columns)
    raise DataError(
        f"{name}: is one text, and prompts are made of the columns {' and '.join(template.columns)}; give a row of "
        f"them, {{{columns}}}, as the prompt or in a .jsonl file"
    )


def rows_with(rows: Sequence[Mapping[str, Any]], column: str) -> Sequence[Mapping[str, Any]]:
    """Those whose text in `column` is not empty or only whitespace."""
    places = array("q", (place for place, row in enumerate(rows) if (row[column] or "").strip()))
    return rows if len(places) == len(rows) else Selected(rows, np.frombuffer(places, np.int64))


class _Filled(Lazy[Example]):
    """Every row as an example, whatever its target is."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], prompt: Template | None, target: Template, *, split: str, source: str
    ) -> None:
        self._rows, self._prompt, self._target, self._split, self._source = rows, prompt, target, split, source
        self._own_markers = target.has_markers or (prompt is not None and prompt.has_markers)

    def __len__(self) -> int:
        return len(self._rows)

    def _at(self, position: int) -> Example:
        row, name = self._rows[position], f"{self._source}: row {position + 1}"
        prompt = self._prompt.fill(row, row_name=name) if self._prompt else ""
        target = self._target.fill(row, row_name=name)
        example = Example(f"{self._split}-{position:06d}", prompt, target, (target,))
        if not self._own_markers:
            return example
        asked = self._prompt.own_words(row, row_name=name) if self._prompt else ()
        return example._replace(control=(asked, self._target.own_words(row, row_name=name)))


def _grouped(examples: Iterable[Example]) -> tuple[list[Example], int]:
    """One example a prompt, and how many had a target."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        if example.target.strip():
            groups.setdefault(example.prompt, []).append(example)
    kept = [group[0]._replace(references=tuple(one.target for one in group)) for group in groups.values()]
    return kept, sum(map(len, groups.values()))


def _value_text(row: Mapping[str, Any], column: str, row_name: str) -> str:
    if column not in row:
        plain = re.split(r"[.:!\[]", column)[0]
        only_names = f" Only a column's name may stand between braces, as {{{plain}}}." if plain in row else ""
        hint = only_names or did_you_mean(column, row)
        raise DataError(f"{row_name} has no column {column!r}.{hint} Columns: {', '.join(row)}")
    value = row[column]
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise DataError(f"{row_name}: the column {column!r} is {type(value).__name__}, not text; write it as text first")
