"""Writes a study's report: report.html, report.md, comparison.csv, .json and .tex, and plots/*.png; of many test
examples also pages in examples/."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunelab.contracts import Metric
from tunelab.entries import StudyRuns
from tunelab.files import write_atomically
from tunelab.report.bill import totals_of
from tunelab.report.decision import decision_table
from tunelab.report.frame import Comparison, build_comparison, without_nan
from tunelab.report.html import render_examples, render_html
from tunelab.report.latex import latex
from tunelab.report.markdown import render_markdown
from tunelab.report.numbers import setting_text
from tunelab.report.options import option_text
from tunelab.report.page import Page, build_page
from tunelab.report.scores_table import task_matrix
from tunelab.report.tables import Table, no_formula
from tunelab.report.verdict import place, verdicts

BESIDE = ("comparison.csv", "comparison.json", "comparison.tex", "report.md")
"""What the page links to."""


def write_report(
    study: StudyRuns | Sequence[StudyRuns],
    *,
    metrics: Mapping[str, Metric],
    folder: Path,
    config_facts: Mapping[str, Any],
    warning: str = "",
) -> Comparison:
    """Read the records of one study or several, write the report into `folder`, return the table.

    `metrics` holds the metric objects by name as the records name them, variant included ("bleu:e2e"); a metric that
    is missing there keeps its mean and loses intervals over seeds, ties and tests. `config_facts` are shown as they
    are, in order: {"model": "tunelab/tiny", "seeds": [0, 1]}. `warning` stands above everything else of both pages.
    Every file is replaced whole or not at all.
    """
    studies = [study] if isinstance(study, StudyRuns) else list(study)
    comparison = build_comparison(studies, metrics=metrics)
    page = build_page(comparison, metrics=metrics, config_facts=config_facts, warning=warning)
    for plot in page.plots:
        write_atomically(folder / "plots" / plot.file, plot.png)
    write_atomically(folder / "comparison.csv", _csv(comparison))
    write_atomically(folder / "comparison.json", _json(comparison, page))
    write_atomically(folder / "comparison.tex", latex(_for_papers(comparison)))
    write_atomically(folder / "report.md", render_markdown(page))
    for name, text in render_examples(page).items():
        write_atomically(folder / name, text)
    beside = [name for name in BESIDE if (folder / name).is_file()]
    write_atomically(folder / "report.html", render_html(page, files=beside))
    return comparison


def _json(comparison: Comparison, page: Page) -> str:
    decisions = [verdict.as_json() for verdict in verdicts(comparison)]
    whole = {
        "study": comparison.study,
        "tunelab": page.version,
        "decisions": decisions,
        "rows": comparison.as_json()["rows"],
    }
    if totals := totals_of(comparison):
        whole["totals"] = without_nan([total._asdict() for total in totals])
    if page.alignments:
        whole["alignment"] = without_nan([alignment.facts for alignment in page.alignments])
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(comparison: Comparison) -> str:
    """One line a row; a score is a column for each of its parts, a list is joined by '; ', missing is empty."""
    lines = [_flat(row) for row in comparison.as_json()["rows"]]
    scores = _in_order(dict.fromkeys(name for line in lines for name in line if name.startswith("score ")))
    first = [name for name in (lines[0] if lines else {}) if not name.startswith("score ")]
    position = first.index("num_seeds_planned") + 1 if first else 0
    target = io.StringIO()
    writer = csv.DictWriter(target, [*first[:position], *scores, *first[position:]], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: no_formula(each) if isinstance(each, str) else each for name, each in line.items()} for line in lines
    )
    return target.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "scores":
            for metric, cell in value.items():
                parts = {**cell, **{f"seed {seed}": score for seed, score in cell["by_seed"].items()}}
                flat |= {f"score {metric} {part}": _joined(each) for part, each in parts.items() if part != "by_seed"}
        elif name == "failures":
            flat[name] = "; ".join(f"seed {failure['seed']}: {failure['error']}" for failure in value)
        elif name == "optimizer":
            flat[name] = json.dumps(value, ensure_ascii=False) if value else ""
        elif name == "options":
            flat[name] = setting_text({option: option_text(each) for option, each in value.items()})
        else:
            flat[name] = setting_text(value) if isinstance(value, dict) else _joined(value)
    return flat


def _in_order(names: Iterable[str]) -> list[str]:
    """A metric's columns together: a method may have a seed that the methods before it have not."""
    metrics = list(dict.fromkeys(_metric_of(name) for name in names))
    return sorted(names, key=lambda name: metrics.index(_metric_of(name)))


def _metric_of(column: str) -> str:
    return column.removeprefix("score ").split(" ")[0]


def _for_papers(comparison: Comparison) -> list[Table]:
    """The method x task matrix, where there is one, and each task's table."""
    matrix = task_matrix(comparison)
    titles = [(place(group, comparison.groups), group) for group in comparison.groups]
    return [
        *([matrix._replace(caption=f"{comparison.study}: every task")] if matrix is not None else []),
        *(decision_table(group, caption=f"{comparison.study}: {title}") for title, group in titles),
    ]


def _joined(value: Any) -> Any:
    return "; ".join(value) if isinstance(value, list) else value
