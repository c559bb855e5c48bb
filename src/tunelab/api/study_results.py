"""What a study gives back in Python: its outcome, the comparison, figures and texts side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from tunelab.api.html import figure_html, page_html
from tunelab.api.shown import Shown, Tabular
from tunelab.errors import ConfigError
from tunelab.launch.printing import outcome_text
from tunelab.launch.run import Outcome
from tunelab.near import did_you_mean
from tunelab.report.decision import decision_table, terminal_text
from tunelab.report.frame import Comparison, Group
from tunelab.report.reading import RunRecords
from tunelab.report.rows import rows_as_json
from tunelab.report.tables import Table, cells, visible, words
from tunelab.report.verdict import overall, verdicts
from tunelab.study.planning.rehearse import REHEARSED

LONGEST_TEXT = 600
"""Letters shown of one text; a data frame has all of them."""


@dataclass(frozen=True, kw_only=True, repr=False)
class StudyComparison(Tabular, Comparison):
    """The rows of a report: every method on every task, with the verdict."""

    folder: Path
    """Where the report is written."""
    warning: str = ""
    """Said above the numbers; empty: nothing."""

    @classmethod
    def of(cls, comparison: Comparison, *, folder: Path, warning: str = "") -> StudyComparison:
        facts = {field.name: getattr(comparison, field.name) for field in fields(Comparison)}
        return cls(**facts, folder=folder, warning=warning)

    @property
    def figures(self) -> Figures:
        """The report's pictures: quality beside memory and time, and the curves."""
        return Figures(sorted((self.folder / "plots").glob("*.png")))

    @property
    def page(self) -> ReportPage:
        """report.html, in a notebook as a frame."""
        return ReportPage(self.folder / "report.html")

    def examples(self, number: int = 3, *, task: str | None = None) -> SideBySide:
        """Test examples, spread evenly over the test set: the reference, the untouched base's text, and every method's
        of its first seed.

        Raises:
            ConfigError: no such task.
        """
        groups = [group for group in self.groups if task in (None, group.task)]
        if task is not None and not groups:
            raise ConfigError(_no_such("task", task, [group.task for group in self.groups]))
        return SideBySide(example for group in groups for example in _side_by_side(group, number))

    def run_folder(self, method: str, *, task: str | None = None, seed: int | None = None) -> Path:
        """The folder of a finished run, as `generate`, `evaluate`, `export` and `show` take it: of the first seed and
        task where they are not given.

        Raises:
            ConfigError: nothing like it has finished.
        """
        names = [row.method for row in self.rows]
        if method not in names:
            raise ConfigError(_no_such("method", method, names))
        runs = [run for group in self.groups if task in (None, group.task) for run in group.runs_of(method)]
        if found := [run.folder for run in runs if seed in (None, run.entry.seed)]:
            return found[0]
        asked = "".join(f", {name} {value}" for name, value in (("task", task), ("seed", seed)) if value is not None)
        known = [f"{run.entry.task} seed {run.entry.seed}" for group in self.groups for run in group.runs_of(method)]
        raise ConfigError(f"{method}{asked}: no finished run; finished: {', '.join(known) or 'none'}")

    def _parts(self) -> Iterable[Table | str]:
        if self.warning:
            yield self.warning
        found = verdicts(self)
        for verdict in found:
            yield decision_table(verdict.group, caption=verdict.name)
            yield " ".join(verdict.sentences)
        if whole := overall(found):
            yield whole
        yield from self._last_lines()

    def _text(self) -> str:
        first = f"{self.warning}\n\n" if self.warning else ""
        return "\n".join([first + terminal_text(self), *map(visible, self._last_lines())])

    def _last_lines(self) -> list[str]:
        failed = [f"FAILED {failure.run}: {failure.error}" for failure in self.failures]
        return [*failed, f"Report: {self.folder / 'report.html'}"]

    def _rows(self) -> list[dict[str, Any]]:
        facts = rows_as_json(self.rows)
        return [_flat(each, row.run_folders) for each, row in zip(facts, self.rows, strict=True)]


def _flat(row: dict[str, Any], folders: tuple[Path, ...]) -> dict[str, Any]:
    """A score is four columns: rouge_l, rouge_l_low, rouge_l_high, rouge_l_word."""
    flat = {name: value for name, value in row.items() if name not in ("scores", "runs")}
    for metric, cell in row["scores"].items():
        flat[metric] = cell["mean"]
        flat |= {f"{metric}_{part}": cell[part] for part in ("low", "high", "word")}
    return {**flat, "run_folders": list(folders)}


class StudyOutcome(Tabular, Outcome):
    """What `tunelab.run` gives back. `comparison` has the rows, `folder` is where everything lies."""

    @classmethod
    def of(cls, outcome: Outcome) -> StudyOutcome:
        said = f"{REHEARSED}." if outcome.rehearsed else ""
        compared = StudyComparison.of(outcome.comparison, folder=outcome.folder, warning=said)
        return cls(*outcome._replace(comparison=compared))

    @property
    def compared(self) -> StudyComparison:
        """`comparison`, with what it can do in Python."""
        assert isinstance(self.comparison, StudyComparison)
        return self.comparison

    @property
    def figures(self) -> Figures:
        """See StudyComparison."""
        return self.compared.figures

    @property
    def page(self) -> ReportPage:
        """See StudyComparison."""
        return self.compared.page

    def examples(self, number: int = 3, *, task: str | None = None) -> SideBySide:
        """See StudyComparison."""
        return self.compared.examples(number, task=task)

    def run_folder(self, method: str, *, task: str | None = None, seed: int | None = None) -> Path:
        """See StudyComparison."""
        return self.compared.run_folder(method, task=task, seed=seed)

    def _parts(self) -> Iterable[Table | str]:
        if self.jobs is not None:
            return self.jobs.lines(self.folder)
        return self.compared._parts()

    def _text(self) -> str:
        return outcome_text(self)

    def _rows(self) -> list[dict[str, Any]]:
        return self.compared._rows()


class Figures(Shown, list[Path]):
    """PNG files; in a notebook the pictures."""

    def _parts(self) -> Iterable[Table | str]:
        return [self._text()]

    def _text(self) -> str:
        return "\n".join(map(str, self)) or "no figures: nothing was trained, or the report is not written"

    def _repr_html_(self) -> str:
        return "".join(map(figure_html, self)) or super()._repr_html_()


class ReportPage(Shown):
    """report.html; in a notebook the page itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _parts(self) -> Iterable[Table | str]:
        return [self._text()]

    def _text(self) -> str:
        return str(self.path) if self.path.exists() else f"{self.path}: not written"

    def _repr_html_(self) -> str:
        return page_html(self.path) if self.path.exists() else super()._repr_html_()


# ------------------------------------------------------------------ texts side by side


class Told(NamedTuple):
    """One test example, and what each method made of it."""

    task: str
    id: str
    prompt: str
    references: tuple[str, ...]
    answers: dict[str, str | None]
    """By method, the base first. None: its evaluation generated no text."""


class SideBySide(Tabular, list[Told]):
    """Test examples with the texts of every method."""

    def _parts(self) -> Iterable[Table | str]:
        if not self:
            yield "no texts: nothing has finished, or no metric of the task reads any"
        for told in self:
            lines = [("prompt", told.prompt), *(("reference", text) for text in told.references[:1])]
            answers = [(method, "(no text)" if text is None else text) for method, text in told.answers.items()]
            rows = tuple(cells(who, _cut(text)) for who, text in [*lines, *answers])
            yield Table(f"{told.task}, test example {told.id}", (words(""), words("Text")), rows)

    def _text(self) -> str:
        """Under one another: a terminal is too narrow for texts in a table."""
        blocks = []
        for told in self:
            answers = {who: "(no text)" if text is None else text for who, text in told.answers.items()}
            lines = {"prompt": told.prompt, "reference": " | ".join(told.references[:1]), **answers}
            shown = [visible(f"  {who}: {' '.join(_cut(text).split())}") for who, text in lines.items()]
            blocks.append("\n".join([visible(f"{told.task}, test example {told.id}"), *shown]))
        return "\n\n".join(blocks) or super()._text()

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {"task": told.task, "id": told.id, "prompt": told.prompt, "references": list(told.references),
             "method": method, "text": text}
            for told in self
            for method, text in told.answers.items()
        ]  # fmt: skip


def _side_by_side(group: Group, number: int) -> Iterable[Told]:
    first: dict[str, RunRecords] = {row.method: runs[0] for row in group.rows if (runs := group.runs_of(row.method))}
    found = {method: {each.id: each for each in run.predictions} for method, run in first.items()}
    shared = [id for id in next(iter(found.values()), {}) if all(id in texts for texts in found.values())]
    if all(texts[id].prediction is None for texts in found.values() for id in shared):
        return
    count = min(number, len(shared))
    for id in (shared[place * len(shared) // count] for place in range(count)):
        answers = {method: texts[id].prediction for method, texts in found.items()}
        one = next(iter(found.values()))[id]
        yield Told(group.task, id, one.prompt, one.references, answers)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text) - LONGEST_TEXT:,} letters more)"


def _no_such(kind: str, name: str, known: list[str]) -> str:
    hint = did_you_mean(name, known)
    return f"no {kind} {name!r} in this comparison.{hint} It has {', '.join(dict.fromkeys(known)) or 'none'}"
