"""What a model gives back in Python: texts, scores, evaluations, an export; and what is shown of rows and runs."""

from __future__ import annotations

import io
from collections.abc import Iterable
from html import escape
from typing import Any

from rich.console import Console

from tunelab.api.html import marked_html, preformatted_html
from tunelab.api.shown import Shown, Tabular
from tunelab.export.export import Exported, as_json, export_text
from tunelab.launch.printing import print_tasks, result_text
from tunelab.launch.rows_text import file_text
from tunelab.records import RunResult, Score
from tunelab.report.numbers import bounds, number, score_decimals
from tunelab.report.tables import Cell, Column, Table, cells, visible, words
from tunelab.study.verbs.init import Written
from tunelab.study.verbs.score import notes, scores_text
from tunelab.study.verbs.show import ShownFile, ShownTask


class Texts(Tabular, list[str]):
    """One text a prompt: a list, which shows its prompts too."""

    def __init__(self, texts: Iterable[str], prompts: Iterable[Any], notes: Iterable[str] = ()) -> None:
        super().__init__(texts)
        self.prompts = list(prompts)
        self.notes = list(notes)
        """What was read of the prompts in another way than it stands there, and what was cut."""

    def _parts(self) -> Iterable[Table | str]:
        rows = tuple(cells(_prompt_text(prompt), text) for prompt, text in zip(self.prompts, self, strict=True))
        return [Table("", (words("Prompt"), words("Text")), rows, tuple(self.notes))]

    def _text(self) -> str:
        return "\n".join([list.__repr__(self), *(visible(f"note: {note}") for note in self.notes)])

    def _rows(self) -> list[dict[str, Any]]:
        return [{"prompt": prompt, "text": text} for prompt, text in zip(self.prompts, self, strict=True)]


def _prompt_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(f"{column}: {value}" for column, value in prompt.items())


class Scores(Tabular, dict[str, Score]):
    """Metric -> score."""

    def _parts(self) -> Iterable[Table | str]:
        return [_score_table("", self), *notes(self)]

    def _text(self) -> str:
        return "\n".join([scores_text(self), *(f"note: {note}" for note in notes(self))])

    def _rows(self) -> list[dict[str, Any]]:
        return [{"metric": name, **score.model_dump()} for name, score in self.items()]


class Evaluations(Tabular, list[RunResult]):
    """One result a task."""

    def _parts(self) -> Iterable[Table | str]:
        for result in self:
            yield _score_table(f"{result.method} on {result.task}, seed {result.seed}", result.scores)
            yield from [*notes(result.scores), *result.notes]

    def _text(self) -> str:
        return "\n".join(map(result_text, self))

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"method": result.method, "task": result.task, "seed": result.seed, "run": result.run, "metric": name}
            | score.model_dump()
            for result in self
            for name, score in result.scores.items()
        ]


def _score_table(caption: str, scores: dict[str, Score]) -> Table:
    columns = (words("Metric"), Column("Value"), Column("Examples"), words("Signature"))
    return Table(caption, columns, tuple(_score_row(name, score) for name, score in scores.items()))


def _score_row(name: str, score: Score) -> tuple[Cell, ...]:
    decimals = score_decimals([score.value])
    value = Cell(number(score.value, decimals), below=bounds(score.low, score.high, decimals))
    if score.value is None:
        value = value._replace(below=f"missing: {score.missing}" if score.missing else "missing")
    return Cell(f"{name} {'↑' if score.higher_is_better else '↓'}"), value, Cell(str(score.n)), Cell(score.signature)


class ExportedModel(Tabular, Exported):
    """A folder with a model, read again and compared."""

    def _parts(self) -> Iterable[Table | str]:
        return export_text(self).splitlines()

    def _text(self) -> str:
        return export_text(self)

    def _repr_html_(self) -> str:
        return preformatted_html(self._text())

    def _rows(self) -> list[dict[str, Any]]:
        return [as_json(self)]


# ------------------------------------------------------------------ before training


class StudyData(Tabular, list[ShownTask]):
    """What the model reads of a study's tasks, and which of it is learned."""

    def _parts(self) -> Iterable[Table | str]:
        return self._text().splitlines()

    def _text(self) -> str:
        """Learned text stands in [[ ]]."""
        written = Console(file=io.StringIO(), width=200, highlight=False, force_jupyter=False)
        print_tasks(self, written)
        return written.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]

    def _repr_html_(self) -> str:
        return "".join(map(_task_html, self))

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "task": task.task,
                "id": example.id,
                "source": "".join(piece.text for piece in example.source),
                "text": "".join(piece.text for piece in example.pieces),
                "learned": "".join(piece.text for piece in example.pieces if piece.supervised),
                "num_tokens": example.num_tokens,
                "num_supervised": example.num_supervised,
            }
            for task in self
            for example in task.examples
        ]


def _task_html(task: ShownTask) -> str:
    """The counts as a terminal has them, and the examples with what is learned marked."""
    without = StudyData([task._replace(examples=())])._text()
    parts = [preformatted_html(without.replace("stands in [[ ]]", "is marked"))]
    for example in task.examples:
        head = f"{example.id}: {example.num_tokens} tokens, {example.num_supervised} supervised"
        source = [(piece.text, False) for piece in example.source]
        pieces = [(piece.text, piece.supervised) for piece in example.pieces]
        between = [("\n", False)] if source else []
        parts.append(f"<b>{escape(head)}</b>{marked_html([*source, *between, *pieces])}")
    return "".join(parts)


class FileRows(Tabular, ShownFile):
    """Columns and first rows of a file or a named data set."""

    name: str

    @classmethod
    def named(cls, name: str, shown: ShownFile) -> FileRows:
        rows = cls(*shown)
        rows.name = name
        return rows

    def _parts(self) -> Iterable[Table | str]:
        columns = tuple(words(f"{name} ({kind})") for name, kind in self.columns.items())
        rows = tuple(cells(*(str(row.get(name, "")) for name in self.columns)) for row in self.rows)
        count = "" if self.num_rows is None else f": {self.num_rows} rows, of which {len(self.rows)}"
        return [*self.about, Table(f"{self.name}{count}", columns, rows)]

    def _text(self) -> str:
        return file_text(self.name, self)

    def _rows(self) -> list[dict[str, Any]]:
        return [dict(row) for row in self.rows]


class RunFacts(Shown, str):
    """A run's settings, result and attempts, as `tunelab show RUN` prints them."""

    def _parts(self) -> Iterable[Table | str]:
        return self.splitlines()

    def _text(self) -> str:
        return str.__str__(self)

    def _repr_html_(self) -> str:
        return preformatted_html(self._text())


class WrittenStudy(Shown, Written):
    """A study file for one's own data; `study` is its path. A notebook shows what stands in it."""

    def _parts(self) -> Iterable[Table | str]:
        return [*(f"note: {note}" for note in self.notes), *(f"wrote {path}" for path in self.files)]

    def _text(self) -> str:
        return "\n".join(map(str, self._parts()))

    def _repr_html_(self) -> str:
        return preformatted_html(f"{self._text()}\n\n{self.study.read_text(encoding='utf-8')}")
