"""Word problems of one to three steps; an answer is the worked steps and a last line `#### 42`.

The numbers of a problem decide its split, so the same sum is never asked in training and in testing.
"""

import operator
import random
from itertools import count, islice
from typing import NamedTuple

from tunelab.data.synthetic.arithmetic_problems import KINDS, Step
from tunelab.data.synthetic.draw import check_split, generator, pick, split_of
from tunelab.data.synthetic.lexicon import names, things

_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
_THINGS = """
apples books coins eggs pencils stamps cards bricks tickets cakes hens lamps marbles plates ribbons stones toys
buttons bottles flowers shells candles maps spoons kites
""".split()


class Problem(NamedTuple):
    """A word problem with the facts it was made from."""

    kind: str
    quantities: dict[str, int]
    """Everything drawn or computed, by the names that the steps use."""
    question: str
    answer: str


def rows(*, split: str, n: int, seed: int) -> list[dict]:
    """The first n rows {"question", "answer"} of a split; a shorter request is a prefix of a longer one."""
    return [{"question": made.question, "answer": made.answer} for made in problems(split=split, n=n, seed=seed)]


def problems(*, split: str, n: int, seed: int) -> list[Problem]:
    """The same rows with their facts."""
    check_split(split)
    return [_problem(generator("arithmetic", seed, split, number), split) for number in islice(count(), n)]


def facts(problem: Problem) -> tuple:
    """What decides the split: the kind of problem and the numbers drawn for it."""
    return (problem.kind, *(problem.quantities[name] for name in KINDS[problem.kind].draws))


def _problem(rng: random.Random, split: str) -> Problem:
    while True:
        name = pick(rng, tuple(KINDS))
        kind = KINDS[name]
        quantities = {key: low + int(rng.random() * (high - low + 1)) for key, (low, high) in kind.draws.items()}
        if split_of("arithmetic", name, *quantities.values()) == split:
            break
    for step in kind.given:
        _compute(step, quantities)
    words = {
        "who": pick(rng, names.WOMEN),
        "friend": pick(rng, names.MEN),
        "things": pick(rng, _THINGS),
        "day": pick(rng, things.DAYS),
    }
    lines = []
    for step in kind.steps:
        equation = _compute(step, quantities)
        lines.append(step.sentence.format(sum=equation, **words))
    lines.append(f"#### {quantities[kind.steps[-1].result]}")
    question = pick(rng, kind.questions).format(**words, **quantities)
    return Problem(kind=name, quantities=quantities, question=question, answer="\n".join(lines))


def _compute(step: Step, quantities: dict[str, int]) -> str:
    """Adds the step's result to the quantities and returns the step as an equation."""
    left, right = (int(side) if side.isdigit() else quantities[side] for side in (step.left, step.right))
    result = quantities[step.result] = _OPERATORS[step.operator](left, right)
    return f"{left} {step.operator} {right} = {result}"
