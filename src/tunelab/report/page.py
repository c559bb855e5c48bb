"""The report's contents in reading order, before they become HTML or Markdown: decision first, evidence after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tunelab.contracts import Metric
from tunelab.report.alignment.section import Alignment, alignments
from tunelab.report.beside import beside_table, looks_table
from tunelab.report.costs import phases_table, search_table
from tunelab.report.decision import decision_table
from tunelab.report.examples import SideBySide, most_different
from tunelab.report.fairness import fairness_table, optimizer_table, value_text
from tunelab.report.frame import Comparison
from tunelab.report.plots import Plot, draw_all
from tunelab.report.provenance import failures_table, notes_table, pending_table, provenance_table, signatures_table
from tunelab.report.tables import Part, Table, cells, words
from tunelab.report.verdict import RULE, Verdict, overall, verdicts


class Chapter(NamedTuple):
    """One task (on one backend, in one study)."""

    title: str
    anchor: str
    sentences: tuple[str, ...]
    decision: Table
    plots: tuple[Plot, ...]
    parts: tuple[Part, ...]
    examples: tuple[SideBySide, ...]
    first_metric: str


class Page(NamedTuple):
    title: str
    facts: tuple[tuple[str, str], ...]
    """What the caller wants said of the study: model, budget, ..."""
    overall: str
    """Empty for one task."""
    rule: str
    chapters: tuple[Chapter, ...]
    parts: tuple[Part, ...]
    """About all tasks together: failures, provenance, notes."""
    warning: str = ""
    """What a reader must know before any number."""
    alignments: tuple[Alignment, ...] = ()
    """Each further back end beside the first; empty for one back end."""

    @property
    def plots(self) -> tuple[Plot, ...]:
        return tuple(plot for section in (*self.chapters, *self.alignments) for plot in section.plots)


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
    return Page(
        comparison.study or "study", facts, overall(found), RULE, chapters, _closing(comparison), warning,
        alignments(comparison, metrics),
    )  # fmt: skip


def _chapter(verdict: Verdict, *, anchor: str, metrics: Mapping[str, Metric], plots: tuple[Plot, ...]) -> Chapter:
    group = verdict.group
    parts = {
        "What makes the rows comparable": fairness_table(group),
        "Every method beside the best": beside_table(group),
        "Looks until it was decided": looks_table(group),
        "Effective optimizer": optimizer_table(group),
        "Learning-rate search": search_table(group),
        "Phases": phases_table(group),
    }
    return Chapter(
        title=verdict.name,
        anchor=anchor,
        sentences=verdict.sentences,
        decision=decision_table(group, caption=""),
        plots=plots,
        parts=tuple(Part(heading, table) for heading, table in parts.items() if table is not None),
        examples=most_different(group, metrics=metrics),
        first_metric=group.metrics[0] if group.metrics else "",
    )


def _closing(comparison: Comparison) -> tuple[Part, ...]:
    parts = {
        "Failed runs": failures_table(comparison),
        "Runs that have not finished": pending_table(comparison),
        "Notes of the runs": notes_table(comparison),
        "Metrics": signatures_table(comparison),
        "Provenance": provenance_table(comparison),
    }
    return tuple(Part(heading, table) for heading, table in parts.items() if table is not None)


def facts_table(page: Page) -> Table | None:
    """The caller's facts as a table."""
    if not page.facts:
        return None
    return Table("", (words("Setting"), words("Value")), tuple(cells(*fact) for fact in page.facts))
