"""The report's contents in reading order, before they become HTML or Markdown: decision first, evidence after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tunelab
from tunelab.contracts import Metric
from tunelab.report.alignment.section import Alignment, alignments
from tunelab.report.beside import beside_table, looks_table
from tunelab.report.bill import bill_table
from tunelab.report.costs import phases_table, search_table
from tunelab.report.decision import decision_table
from tunelab.report.examples import AllExamples, SideBySide, all_examples
from tunelab.report.fairness import fairness_table, optimizer_table, value_text
from tunelab.report.foretold import foretold_phases, foretold_table
from tunelab.report.foretold_time import foretold_time
from tunelab.report.frame import Comparison
from tunelab.report.methods_table import methods_table, settings_table
from tunelab.report.plots import Plot, draw_all
from tunelab.report.provenance import failures_table, notes_table, pending_table, provenance_table, signatures_table
from tunelab.report.scores_table import seeds_table, task_matrix
from tunelab.report.tables import Part, Table, cells, words
from tunelab.report.verdict import RULE, Verdict, overall, verdicts


class Chapter(NamedTuple):
    """One task (on one backend, in one study)."""

    title: str
    anchor: str
    headline: str
    """The decision in one line."""
    sentences: tuple[str, ...]
    """The reasons, and what speaks against it."""
    decision: Table
    summary: tuple[Plot, ...]
    """Up to three figures that stand beside the verdict, before the table."""
    plots: tuple[Plot, ...]
    """The further ones."""
    parts: tuple[Part, ...]
    examples: tuple[SideBySide, ...]
    """Those on which the methods differ most."""
    all_examples: AllExamples | None
    """None where no text was generated."""


class Page(NamedTuple):
    title: str
    facts: tuple[tuple[str, str], ...]
    """What the caller wants said of the study: model, budget, ..."""
    overall: str
    """The decision, over all tasks."""
    rule: str
    chapters: tuple[Chapter, ...]
    parts: tuple[Part, ...]
    """About all tasks together: failures, provenance, notes."""
    warning: str = ""
    """What a reader must know before any number."""
    matrix: Table | None = None
    """Method x task; None for one task."""
    version: str = ""
    """Of the tunelab that wrote the report."""
    alignments: tuple[Alignment, ...] = ()
    """Each further back end beside the first; empty for one back end."""

    @property
    def plots(self) -> tuple[Plot, ...]:
        """All of them."""
        of_chapters = (plot for chapter in self.chapters for plot in (*chapter.summary, *chapter.plots))
        return (*of_chapters, *(plot for alignment in self.alignments for plot in alignment.plots))


def build_page(
    comparison: Comparison, *, metrics: Mapping[str, Metric], config_facts: Mapping[str, Any], warning: str = ""
) -> Page:
    """Everything both forms show."""
    plots = draw_all(comparison)
    found = verdicts(comparison)
    chapters = tuple(
        _chapter(verdict, anchor=f"task-{number}", metrics=metrics, plots=plots[verdict.group.key])
        for number, verdict in enumerate(found, start=1)
    )
    facts = tuple((str(name), value_text(value)) for name, value in config_facts.items())
    decision = found[0].summary if len(found) == 1 else overall(found)
    return Page(
        comparison.study or "study", facts, decision, RULE, chapters, _closing(comparison), warning,
        task_matrix(comparison), tunelab.__version__, alignments(comparison, metrics),
    )  # fmt: skip


def _chapter(verdict: Verdict, *, anchor: str, metrics: Mapping[str, Metric], plots: tuple[Plot, ...]) -> Chapter:
    group = verdict.group
    examples = all_examples(group, metrics=metrics)
    parts = {
        "Methods": methods_table(group),
        "Effective optimizer": optimizer_table(group),
        "Scores of every seed": seeds_table(group),
        "Every method beside the best": beside_table(group),
        "Looks until it was decided": looks_table(group),
        "What makes the rows comparable": fairness_table(group),
        "Learning-rate search": search_table(group),
        "Phases": phases_table(group),
    }
    return Chapter(
        title=verdict.name,
        anchor=anchor,
        headline=verdict.summary,
        sentences=verdict.reasons,
        decision=decision_table(group, caption=""),
        summary=tuple(plot for plot in plots if plot.in_summary),
        plots=tuple(plot for plot in plots if not plot.in_summary),
        parts=tuple(Part(heading, table) for heading, table in parts.items() if table is not None),
        examples=() if examples is None else examples.most_different(),
        all_examples=examples,
    )


def _closing(comparison: Comparison) -> tuple[Part, ...]:
    parts = {
        "Memory, predicted and measured": foretold_table(comparison),
        "Memory of the other phases, predicted and measured": foretold_phases(comparison),
        "Time, predicted and measured": foretold_time(comparison),
        "Energy and price": bill_table(comparison),
        "Failed runs": failures_table(comparison),
        "Runs that have not finished": pending_table(comparison),
        "Notes of the runs": notes_table(comparison),
        "Settings of the runs": settings_table(comparison),
        "Metrics": signatures_table(comparison),
        "Provenance": provenance_table(comparison),
    }
    return tuple(Part(heading, table) for heading, table in parts.items() if table is not None)


def facts_table(page: Page) -> Table | None:
    """The caller's facts as a table."""
    if not page.facts:
        return None
    return Table("", (words("Setting"), words("Value")), tuple(cells(*fact) for fact in page.facts))
