"""The tables of the Alignment section."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tunelab.entries import BASE
from tunelab.report.alignment.distance import Distance
from tunelab.report.alignment.found import Found
from tunelab.report.alignment.pairs import Pair, run_text
from tunelab.report.alignment.scores import Difference, Scores
from tunelab.report.alignment.steps import FIRST_STEPS, Apart, Speed, StepByStep, together
from tunelab.report.numbers import MISSING, bounds, duration, memory, number, score_decimals, times
from tunelab.report.tables import Cell, Column, Table, cells, words

TESTED = (
    "The test is that of methods in this report, with the two back ends in the place of two methods: paired by test "
    "example, seeds as independent draws (back ends that share a seed scatter less, so the limits are rather too wide)."
)
EQUAL = (
    "Equal: with 95 % neither lacks the margin to the other. Different: with 95 % one is worse. Undecided: neither. "
    "[low, high]: the limits of which these words come; one side is that of equal, the other of different, so the "
    "difference is not in their middle."
)


def small(value: float | None) -> str:
    """A difference over orders of magnitude: '2.4e-06', '0.012', '0'."""
    if value is None:
        return MISSING
    if not math.isfinite(value):
        return "not finite"
    return "0" if value == 0 else f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"


def signed(value: float | None, decimals: int) -> str:
    """'+0.002', '+3.1e-05'."""
    if value is None or not math.isfinite(value):
        return MISSING
    return ("+" if value > 0 else "−" if value < 0 else "") + unsigned(abs(value), decimals)


def unsigned(value: float, decimals: int) -> str:
    """'0.002'; what the decimals would hide by its first digits: '3.1e-05'."""
    return "0" if value == 0 else f"{value:.1e}" if value < 10**-decimals else f"{value:.{decimals}f}"


def decimals_of(each: Difference) -> int:
    """One more than a score has in the decision table."""
    return score_decimals([each.first, each.other]) + 1


def limits_text(each: Difference) -> str:
    """'[−0.010, 0.012]', 'factor [0.981, 1.020]'; empty where nothing was tested."""
    if each.low is None or each.high is None:
        return ""
    return (
        f"factor {bounds(each.low, each.high, 3)}" if each.is_ratio else bounds(each.low, each.high, decimals_of(each))
    )


def steps_table(found: Found) -> Table | None:
    """A row a pair of runs, and one of all runs of a method."""
    if not found.steps:
        return None
    first, other = found.beside.names
    rows = []
    for method in dict.fromkeys(pair.method for pair, _ in found.steps):
        own = [(pair, each) for pair, each in found.steps if pair.method == method]
        rows += [_steps_row(method, run_text(pair.first.entry).partition(", ")[2], [each], found) for pair, each in own]
        if len(own) > 1:
            rows.append(_steps_row(method, f"all {len(own)} runs", [each for _, each in own], found))
    columns = (
        words("Method"), words("Run"), Column("Steps"), Column("Loss apart, largest"),
        Column("Mean"), Column("At the first step"), Column("Gradient norm apart, largest"),
        Column("Validation loss apart, largest"),
        Column("Perplexity", first), Column("Perplexity", other),
    )  # fmt: skip
    feet = (
        "Losses: difference at the same step, relative to the larger of the two. First step: before anything was "
        "learned, so the forward pass alone. Gradient norm: absolute, before clipping; its mean below. Perplexity: exp "
        "of the last validation loss that both have. Of all runs: every step counts once; the largest of all.",
        *(line for pair, each in found.steps for line in _warnings(pair, each)),
    )
    return Table("", columns, tuple(rows), feet)


def scores_table(each: Scores, found: Found, *, explained: bool) -> Table:
    """As papers print it: a row a back end, a column a metric; below them the difference and the test.

    `explained`: with the rule of the test.
    """
    first, other = found.beside.names
    columns = [words("Back end"), *(Column(f"{name} {_arrow(name, found)}") for name in each.metrics)]
    known = list(each.metrics.values())
    rows = [
        (Cell(first), *(Cell(number(one.first, decimals_of(one))) for one in known)),
        (Cell(other), *(Cell(number(one.other, decimals_of(one))) for one in known)),
        (Cell("difference"), *(Cell(signed(one.value, decimals_of(one)), below=limits_text(one)) for one in known)),
    ]
    if each.is_tested:
        rows.append((Cell("beside the margin"), *map(_word, known)))
    seeds = ", ".join(map(str, each.seeds))
    same, num = found.texts[each.method]
    feet = [f"Means over seed{'s' if len(each.seeds) > 1 else ''} {seeds}, finished on both."]
    if num:
        feet.append(f"Generated texts that are the same, letter for letter: {same} of {num}.")
    if not each.is_tested:
        feet.append(_not_tested(each))
    elif explained:
        feet += [EQUAL, TESTED]
    return Table("", tuple(columns), tuple(rows), (*feet, *each.notes))


def speed_table(found: Found) -> Table | None:
    """A row a method and back end, and their ratio; means over the runs that both finished."""
    if not found.speeds:
        return None
    columns = (
        words("Method"), words("Back end"), Column("First step", "ms"), Column("A step later", "ms"),
        Column("Tokens/s"), Column("Training"), Column("All phases"), Column("Peak memory", "training"),
    )  # fmt: skip
    rows = []
    for method in dict.fromkeys(pair.method for pair, _ in found.speeds):
        sides = [speeds for pair, speeds in found.speeds if pair.method == method]
        both = [_mean_speed([side[place] for side in sides]) for place in (0, 1)]
        rows += [
            (Cell(method), Cell(name), *_speed(speed)) for name, speed in zip(found.beside.names, both, strict=True)
        ]
        ratios = (_ratio(mine, theirs) for mine, theirs in zip(*both, strict=True))
        rows.append((Cell(method), Cell(" / ".join(reversed(found.beside.names))), *map(Cell, ratios)))
    feet = (
        f"Means over the runs that finished on both. A step later: median without the first {FIRST_STEPS} steps; the "
        "first step stands apart, for a back end may compile in it.",
    )
    return Table("", columns, tuple(rows), feet)


def distance_table(found: Found) -> Table | None:
    """A row a method and seed; between two seeds of the first back end as the yardstick."""
    rows, notes = [], {}
    for method, each in found.distances.items():
        for pair, one in each.by_pair:
            rows.append(_distance_row(method, f"seed {pair.seed}, both back ends", one))
            notes |= {f"{method}, seed {pair.seed}: {note}": None for note in one.notes}
        if each.yardstick is not None and each.seeds is not None:
            between = f"seeds {each.seeds[0]} and {each.seeds[1]} on {found.beside.first.backend}"
            rows.append(_distance_row(method, between, each.yardstick))
            notes |= {f"{method}, {between}: {note}": None for note in each.yardstick.notes}
    if not rows:
        return None
    columns = (
        words("Method"), words("Between"), Column("Distance"), Column("Of s B A"), Column("Tensors"),
        words("Furthest apart"),
    )  # fmt: skip
    feet = (
        "Norm of the difference of everything that was saved, by the norm of the first. Two seeds of one back end are "
        "the yardstick: so far apart are two trainings that have equal scores. Of s B A: the products of low-rank "
        "adapters, which are what the model computes with. Tensors whose true gradient is zero (GPT-2's key biases in "
        "full fine-tuning) follow rounding alone and may lie far apart.",
        *notes,
    )
    return Table("", columns, tuple(rows), feet)


def facts_table(facts: Sequence[tuple[str, str]], heads: tuple[str, str] = ("What", "How")) -> Table | None:
    if not facts:
        return None
    return Table("", tuple(map(words, heads)), tuple(cells(*fact) for fact in facts))


def _steps_row(method: str, run: str, every: list[StepByStep], found: Found) -> tuple[Cell, ...]:
    loss, norm, validation = (
        together([getattr(each, name) for each in every]) for name in ("loss", "grad_norm", "validation")
    )
    one = every[0] if len(every) == 1 else None
    perplexities = one.perplexity if one else (None, None)
    return (
        Cell(method), Cell(run), _num_steps(loss, one, found),
        Cell(small(loss.largest) if loss else MISSING, below=f"at {loss.at_step}" if loss and one else ""),
        Cell(small(loss.mean) if loss else MISSING),
        Cell(small(loss.at_first) if loss else MISSING),
        Cell(small(norm.largest) if norm else MISSING, below=f"mean {small(norm.mean)}" if norm else ""),
        Cell(small(validation.largest) if validation else MISSING),
        *(Cell(MISSING if each is None else f"{each:.6g}") for each in perplexities),
    )  # fmt: skip


def _num_steps(loss: Apart | None, one: StepByStep | None, found: Found) -> Cell:
    compared = str(loss.num_steps if loss else 0)
    if one is None or one.is_whole:
        return Cell(compared)
    first, other = found.beside.names
    return Cell(compared, below=f"{first} {one.num_first}, {other} {one.num_other}", tone="bad")


def _warnings(pair: Pair, each: StepByStep) -> list[str]:
    said = []
    if each.num_other_tokens:
        said.append(f"{run_text(pair.first.entry)}: at {each.num_other_tokens} steps the two did not see equally many "
                    "tokens, so not the same rows.")  # fmt: skip
    if each.num_other_rate:
        said.append(f"{run_text(pair.first.entry)}: at {each.num_other_rate} steps their learning rates differ.")
    return said


def _arrow(name: str, found: Found) -> str:
    return "↑" if next(g.higher_is_better(name) for g in found.beside if name in g.metrics) else "↓"


def _word(each: Difference) -> Cell:
    if each.word is None:
        return Cell("not tested", tone="quiet")
    margin = "" if each.margin is None else f"margin {each.margin:.2g}{' in the logarithm' if each.is_ratio else ''}"
    less = "apart by less" if each.by_less_than_margin else ""
    tone = "best" if each.word == "equal" else "bad" if each.word == "different" else ""
    return Cell(each.word, below=", ".join(filter(None, (margin, less))), tone=tone)


def _not_tested(each: Scores) -> str:
    if each.method == BASE:
        return "Not tested: nothing was trained, and the same weights are read by both."
    if len(each.seeds) == 1:
        return "Not tested: one training of each says nothing about the next."
    return "Not tested: the records have no statistics of every example."


def _mean_speed(speeds: list[Speed]) -> Speed:
    columns = [[value for value in column if value is not None] for column in zip(*speeds, strict=True)]
    return Speed(*(math.fsum(known) / len(known) if known else None for known in columns))


def _speed(speed: Speed) -> tuple[Cell, ...]:
    whole = (speed.first_step_ms, speed.step_ms, speed.tokens_per_second)
    return (
        *(Cell(MISSING if each is None else f"{each:,.{1 if each < 100 else 0}f}") for each in whole),
        Cell(duration(speed.train_seconds)), Cell(duration(speed.total_seconds)), Cell(memory(speed.peak_gib)),
    )  # fmt: skip


def _ratio(first: float | None, other: float | None) -> str:
    if not first or not other:
        return MISSING
    return times(other, first) if other >= first * 0.995 else f"{other / first:.2f}x"


def _distance_row(method: str, between: str, one: Distance) -> tuple[Cell, ...]:
    furthest = ", ".join(f"{tensor.name} ({small(tensor.relative)})" for tensor in one.largest)
    return (
        Cell(method), Cell(between), Cell(small(one.relative)), Cell(small(one.product)), Cell(str(one.num_tensors)),
        Cell(furthest or MISSING),
    )  # fmt: skip
