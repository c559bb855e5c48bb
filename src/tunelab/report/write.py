"""Writes a study's report: report.html, report.md, comparison.csv, comparison.json and plots/*.png."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunelab.contracts import Metric
from tunelab.entries import StudyRuns
from tunelab.files import write_atomically
from tunelab.report.frame import Comparison, build_comparison, without_nan
from tunelab.report.html import render_html
from tunelab.report.markdown import render_markdown
from tunelab.report.numbers import setting_text
from tunelab.report.page import Page, build_page
from tunelab.report.verdict import verdicts


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
    write_atomically(folder / "report.md", render_markdown(page))
    write_atomically(folder / "report.html", render_html(page))
    return comparison


def _json(comparison: Comparison, page: Page) -> str:
    decisions = [verdict.as_json() for verdict in verdicts(comparison)]
    whole = {"study": comparison.study, "decisions": decisions, "rows": comparison.as_json()["rows"]}
    if page.alignments:
        whole["alignment"] = without_nan([alignment.facts for alignment in page.alignments])
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(comparison: Comparison) -> str:
    """One line a row; a score is a column for each of its parts, a list is joined by '; ', missing is empty."""
    lines = [_flat(row) for row in comparison.as_json()["rows"]]
    scores = dict.fromkeys(name for line in lines for name in line if name.startswith("score "))
    first = [name for name in (lines[0] if lines else {}) if not name.startswith("score ")]
    position = first.index("num_seeds_planned") + 1 if first else 0
    target = io.StringIO()
    writer = csv.DictWriter(target, [*first[:position], *scores, *first[position:]], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return target.getvalue()


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if name == "scores":
            flat |= {
                f"score {metric} {part}": _joined(each) for metric, cell in value.items() for part, each in cell.items()
            }
        elif name == "failures":
            flat[name] = "; ".join(f"seed {failure['seed']}: {failure['error']}" for failure in value)
        else:
            flat[name] = setting_text(value) if isinstance(value, dict) else _joined(value)
    return flat


def _joined(value: Any) -> Any:
    return "; ".join(value) if isinstance(value, list) else value
