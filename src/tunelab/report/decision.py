"""The decision table: a row per method with quality, cost and size; and its short form for a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase

from tunelab.entries import BASE
from tunelab.report.devices import either, spread_of
from tunelab.report.frame import Comparison, Group, Row
from tunelab.report.numbers import (
    MISSING,
    Unit,
    bounds,
    count,
    in_unit,
    memory_unit,
    number,
    percent,
    rate,
    score_decimals,
    setting_text,
    three_digits,
    time_unit,
)
from tunelab.report.quality import ScoreCell, unread
from tunelab.report.reading import finished
from tunelab.report.tables import Cell, Column, Table, Tone, plain, words, wrapped
from tunelab.report.verdict import overall, verdicts

BOLD = "Bold: as good as the best (it lacks less than the margin, with 95 % over all methods together)."
INTERVAL = "[low, high]: 95 % interval. ↑: higher is better, ↓: lower is better."
PARAGRAPH = 100
"""Columns of sentences where there is no terminal."""
STARRED = BOLD.replace("Bold", "*")
SPREAD = (
    "Where a row was trained over several devices, memory is the largest peak of one and time is by the clock; in all: "
    "the peaks of all devices added, and seconds times devices."
)
COSTS = "Memory and time are of the train phase alone; memory is the absolute peak."


def decision_table(group: Group, *, caption: str, short: bool = False) -> Table:
    """`short`: for a terminal, with shorter headings."""
    letters = _letters(group)
    time = time_unit(row.train_seconds for row in group.rows)
    memory = memory_unit(row.peak_train_gib for row in group.rows)
    metrics = group.metrics
    columns = [
        words("Method"),
        *([words("Beside the best")] if group.comparisons else []),
        *(Column(f"{name} {'↑' if group.higher_is_better(name) else '↓'}") for name in metrics),
        Column("Memory" if short else "Peak memory", memory.name),
        Column("Time" if short else "Train time", time.name),
        *([words("Trained over")] if group.is_spread else []),
        Column("Trained"),
        Column("Saved", "MiB"),
        Column("Rate" if short else "Learning rate"),
        Column("Seeds"),
    ]
    rows = [
        (
            Cell(row.method, below=setting_text(row.searched), marks=_marks(_of_row(row), letters)),
            *([_word(row, group)] if group.comparisons else []),
            *(score_cell(row, name, group)._replace(marks=_marks(_of_score(row, name), letters)) for name in metrics),
            *_costs(row, time=time, memory=memory),
            *([_trained_over(row, group)] if group.is_spread else []),
            _trained(row, short=short),
            Cell(three_digits(row.saved_mib)),
            _learning_rate(row, short=short),
            Cell(_seeds(row)),
        )
        for row in group.rows
    ]
    hidden = {columns.index(column) for column in columns if short and column.title == "Saved"}
    starred = [STARRED] if any(cell.tone == "best" for row in rows for cell in row) else []
    explained = [*(starred if short else [BOLD, INTERVAL, COSTS]), *([SPREAD] if group.is_spread else [])]
    unseen = [line for name in metrics for line in unread(name, finished(group.runs))]
    feet = (*explained, *unseen, *(f"{letter}: {mark}" for mark, letter in letters.items()))
    return Table(
        caption,
        tuple(column for position, column in enumerate(columns) if position not in hidden),
        tuple(tuple(cell for position, cell in enumerate(row) if position not in hidden) for row in rows),
        feet,
    )


def terminal_text(comparison: Comparison, *, width: int | None = None) -> str:
    """What `tunelab run` prints at its end: for every task a table, the verdict, and what the runs have noted.

    Args:
        width: columns of the terminal; None: it is none, and no line is cut to fit.
    """
    found = verdicts(comparison)
    blocks = []
    for verdict in found:
        table = plain(decision_table(verdict.group, caption=verdict.name, short=True), width=width)
        notes = [line for note in _notes(verdict.group) for line in wrapped(f"note: {note}", width, indent="  ")]
        said = _paragraph(" ".join(verdict.sentences), width)
        blocks.append("\n".join([table, said, "", *([*notes, ""] if notes else [])]))
    whole = overall(found)
    return "\n".join([*blocks, *([_paragraph(whole, width) + "\n"] if whole else [])])


def _paragraph(text: str, width: int | None) -> str:
    return "\n".join(wrapped(text, width or PARAGRAPH))


def _notes(group: Group) -> list[str]:
    """What the runs say of their data and of themselves, each once, with the methods whose runs say it where others'
    do not."""
    said: dict[str, list[str]] = {}
    for row in group.rows:
        for note in row.notes:
            said.setdefault(note, []).append(row.method)
    methods = {row.method for row in group.rows if row.method != BASE and row.num_seeds}
    return [note if methods <= set(who) else f"{note} ({', '.join(who)})" for note, who in said.items()]


def _letters(group: Group) -> dict[str, str]:
    """Mark -> footnote letter, in the order of the rows."""
    marks = dict.fromkeys(mark for row in group.rows for mark in row.marks)
    return {mark: ascii_lowercase[place] if place < 26 else str(place + 1) for place, mark in enumerate(marks)}


def _marks(marks: Iterable[str], letters: dict[str, str]) -> str:
    return ", ".join(letters[mark] for mark in marks)


def _of_score(row: Row, metric: str) -> tuple[str, ...]:
    """Why a score is missing stands on the score."""
    return row.scores[metric].left_out if metric in row.scores else ()


def _of_row(row: Row) -> list[str]:
    scores = {mark for metric in row.scores for mark in _of_score(row, metric)}
    return [mark for mark in row.marks if mark not in scores]


def _word(row: Row, group: Group) -> Cell:
    """On the metric that decides."""
    cell = row.scores.get(group.metrics[0])
    if cell is None or cell.word is None:
        return Cell("one seed" if row.method != BASE and row.num_seeds == 1 else MISSING)
    return Cell(cell.word, tone=_tone(cell))


def _tone(cell: ScoreCell) -> Tone:
    return "best" if cell.word == "as good" else ""


def score_cell(row: Row, metric: str, group: Group) -> Cell:
    """The mean over the seeds and its interval, bold as the tests say."""
    cell = row.scores.get(metric)
    if cell is None or cell.mean is None:
        return Cell(MISSING)
    shown = [other.scores[metric].mean for other in group.rows if metric in other.scores]
    decimals = score_decimals(shown)
    return Cell(number(cell.mean, decimals), below=bounds(cell.low, cell.high, decimals), tone=_tone(cell))


def _costs(row: Row, *, time: Unit, memory: Unit) -> tuple[Cell, ...]:
    """Of one device, and below them of all where there were several."""
    cells = Cell(in_unit(row.peak_train_gib, memory)), Cell(in_unit(row.train_seconds, time))
    if row.train_device_seconds == row.train_seconds:
        return cells
    in_all = in_unit(row.peak_train_all_gib, memory), in_unit(row.train_device_seconds, time)
    return tuple(cell._replace(below=f"(in all {total})") for cell, total in zip(cells, in_all, strict=True))


def _trained_over(row: Row, group: Group) -> Cell:
    runs = [] if row.method == BASE else group.runs_of(row.method)
    return Cell(either(spread_of(run.result) for run in runs) or MISSING)


def _trained(row: Row, *, short: bool) -> Cell:
    trained = Cell(count(row.trainable_parameters), below=percent(row.trainable_parameters, row.total_parameters))
    if short:
        trained = trained._replace(below="")
    if row.method == BASE or row.trainable_parameters is None:
        trained = Cell(MISSING)
    return trained


def _learning_rate(row: Row, *, short: bool) -> Cell:
    """How many were tried stands on every row that has one, or is still looking for one."""
    if row.method == BASE or (row.learning_rate is None and row.num_learning_rates_tried == 1):
        return Cell(MISSING)
    if short:
        return Cell(f"{rate(row.learning_rate)} of {row.num_learning_rates_tried}")
    return Cell(rate(row.learning_rate), below=f"{row.num_learning_rates_tried} tried")


def _seeds(row: Row) -> str:
    return str(row.num_seeds) if row.num_seeds == row.num_seeds_planned else f"{row.num_seeds}/{row.num_seeds_planned}"
