"""Arithmetic stated plainly: equations, tables, comparisons and sentences about quantities."""

import random

from tunelab.data.synthetic.draw import pick, shuffled
from tunelab.data.synthetic.templates import compiled, with_articles

_PLUS = compiled("""
    {a} + {b} = {c}
    {a} plus {b} is {c}.
    If you add {b} to {a} you get {c}.
    The sum of {a} and {b} is {c}.
    {a} {things} and {b} {things} make {c} {things}.
    {a} and {b} more is {c}.
    Put {b} {things} next to {a} {things} and count {c}.
""")
_MINUS = compiled("""
    {c} - {b} = {a}
    {c} minus {b} is {a}.
    Take {b} from {c} and {a} remain.
    {c} {things} less {b} leaves {a} {things}.
    {c} is {b} more than {a}.
    {a} is {b} less than {c}.
    The difference between {c} and {a} is {b}.
""")
_TIMES = compiled("""
    {a} * {b} = {c}
    {a} times {b} is {c}.
    {a} bags with {b} {things} each hold {c} {things}.
    {b} multiplied by {a} gives {c}.
    {a} rows of {b} are {c}.
    The product of {a} and {b} is {c}.
""")
_DIVIDE = compiled("""
    {c} / {b} = {a}
    {c} divided by {b} is {a}.
    Share {c} {things} among {b} and each gets {a}.
    {b} goes into {c} exactly {a} times.
    A {b}th part of {c} is {a}.
""")
_COMPARE = compiled("""
    {low} is smaller than {high}.
    {high} is greater than {low}.
    {high} > {low}
    {low} < {high}
    Of {low} and {high} the larger number is {high}.
    Counting up, {low} comes before {high}.
""")


def statement(rng: random.Random) -> str:
    """One true statement about small numbers."""
    form = int(rng.random() * 5)
    bound = {"things": pick(rng, _THINGS)}
    if form == 4:
        low = int(rng.random() * 98)
        bound |= {"low": str(low), "high": str(low + 1 + int(rng.random() * (99 - low)))}
        return pick(rng, _COMPARE).fill(rng, bound)
    limit = 60 if form < 2 else 12
    a, b = 2 + int(rng.random() * limit), 2 + int(rng.random() * limit)
    c = a + b if form < 2 else a * b
    bound |= {"a": str(a), "b": str(b), "c": str(c)}
    return pick(rng, (_PLUS, _MINUS, _TIMES, _DIVIDE)[form]).fill(rng, bound)


_THINGS = """
apples books coins eggs pencils stamps cards bricks tickets cakes fish hens lamps marbles plates ribbons stones toys
buttons bottles flowers seats shells stickers
""".split()


def _count(rng: random.Random) -> str:
    start, step = int(rng.random() * 40), 1 + int(rng.random() * 9)
    numbers = [start + step * index for index in range(6 + int(rng.random() * 8))]
    if rng.random() < 0.3:
        numbers.reverse()
    return f"Counting by {step}: " + ", ".join(map(str, numbers))


def _table(rng: random.Random) -> str:
    factor = 2 + int(rng.random() * 11)
    first = 1 + int(rng.random() * 6)
    return "\n".join(f"{number} x {factor} = {number * factor}" for number in range(first, first + 6))


def _sorted(rng: random.Random) -> str:
    numbers = shuffled(rng, range(1, 100))[:6]
    in_order = ", ".join(map(str, sorted(numbers)))
    return f"Numbers: {', '.join(map(str, numbers))}\nIn order: {in_order}"


def document(rng: random.Random) -> str:
    """Six to fourteen statements, sometimes with a table or a row of numbers."""
    lines = [statement(rng) for _ in range(5 + int(rng.random() * 7))]
    if rng.random() < 0.5:
        lines.append(pick(rng, (_count, _table, _sorted))(rng))
    joiner = " " if rng.random() < 0.3 and all(line.endswith(".") for line in lines) else "\n"
    return with_articles(joiner.join(lines))
