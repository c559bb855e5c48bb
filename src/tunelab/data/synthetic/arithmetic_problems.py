"""The word problems of the arithmetic task: what is drawn, how it may be asked, and the steps of the solution."""

from typing import NamedTuple


class Step(NamedTuple):
    """result = left operator right, said in a sentence that holds {sum}; operands are names of quantities or digits."""

    result: str
    left: str
    operator: str
    right: str
    sentence: str


class ProblemKind(NamedTuple):
    draws: dict[str, tuple[int, int]]
    """Each quantity with its smallest and largest value."""
    given: tuple[Step, ...]
    """Quantities computed beforehand so that differences stay positive and shares whole; not shown in the solution."""
    questions: tuple[str, ...]
    steps: tuple[Step, ...]


def _kind(draws: dict[str, tuple[int, int]], questions: str, *steps: Step, given: tuple[Step, ...] = ()) -> ProblemKind:
    lines = tuple(line.strip() for line in questions.strip().splitlines())
    return ProblemKind(draws=draws, given=given, questions=lines, steps=steps)


KINDS: dict[str, ProblemKind] = {
    "gain": _kind(
        {"a": (3, 60), "b": (2, 40)},
        """
        {who} has {a} {things}. Then {friend} brings {b} more. How many {things} does {who} have now?
        There were {a} {things} in the shop before {who} added another {b}. How many are there in all?
        On {day} {who} counts {a} {things}, and on the next day {b} others turn up. What is the count then?
        A shelf holds {a} {things} and a box holds {b}. How many {things} is that together?
        """,
        Step("c", "a", "+", "b", "Together that makes {sum} {things}."),
    ),
    "loss": _kind(
        {"b": (2, 40), "c": (2, 50)},
        """
        {who} owned {a} {things} but lost {b} on the way home. How many are left?
        Out of {a} {things}, {friend} takes {b}. How many {things} can {who} still use?
        A crate of {a} {things} fell over and {b} broke. How many stayed whole?
        {who} must deliver {a} {things} and has delivered {b}. How many remain to be delivered?
        """,
        Step("d", "a", "-", "b", "What is left is {sum} {things}."),
        given=(Step("a", "b", "+", "c", ""),),
    ),
    "boxes": _kind(
        {"a": (2, 12), "b": (2, 12)},
        """
        {who} fills {a} boxes with {b} {things} each. How many {things} are in the boxes?
        There are {a} tables with {b} {things} on every one. How many {things} is that?
        Each of {a} children brings {b} {things}. How many {things} do the children bring?
        In one hour {who} makes {b} {things}. How many does {who} make in {a} hours?
        """,
        Step("c", "a", "*", "b", "That is {sum} {things}."),
    ),
    "share": _kind(
        {"b": (2, 10), "k": (2, 12)},
        """
        {who} deals out {a} {things} fairly to {b} friends. How many does each friend get?
        {a} {things} fit into {b} bags that are equally full. How many are in one bag?
        A team of {b} carries {a} {things}, everyone the same number. How many does one person carry?
        """,
        Step("c", "a", "/", "b", "Each one has {sum} {things}."),
        given=(Step("a", "b", "*", "k", ""),),
    ),
    "gain then loss": _kind(
        {"a": (5, 40), "b": (5, 30), "c": (2, 9)},
        """
        {who} had {a} {things}, bought {b} more and gave {c} to {friend}. How many does {who} have?
        A bus starts with {a} people. At the market {b} get on and {c} get off. How many people ride on?
        In a pond swam {a} ducks. After {b} flew in, {c} flew away. How many ducks swim there?
        """,
        Step("d", "a", "+", "b", "At first it becomes {sum}."),
        Step("e", "d", "-", "c", "Afterwards it is {sum}."),
    ),
    "price": _kind(
        {"a": (2, 9), "b": (2, 12), "c": (1, 20)},
        """
        One ticket costs {b} coins. {who} buys {a} tickets and a map for {c} coins. What does {who} pay?
        {who} pays {b} coins for each of {a} meals and leaves a tip of {c} coins. How many coins is that in all?
        A carpenter asks {b} coins an hour plus {c} coins for the ride. What do {a} hours of work cost?
        """,
        Step("d", "a", "*", "b", "First pay {sum} coins."),
        Step("e", "d", "+", "c", "With the rest it comes to {sum} coins."),
    ),
    "change": _kind(
        {"a": (2, 8), "b": (2, 9), "k": (1, 30)},
        """
        {who} has {c} coins and buys {a} {things} at {b} coins each. How many coins remain?
        With {c} coins in the purse, {who} pays for {a} {things} that cost {b} coins apiece. What is the change?
        A jug holds {c} cups of juice. {who} pours {b} cups for each of {a} guests. How many cups are left?
        """,
        Step("d", "a", "*", "b", "The amount used is {sum}."),
        Step("e", "c", "-", "d", "The amount left is {sum}."),
        given=(Step("m", "a", "*", "b", ""), Step("c", "m", "+", "k", "")),
    ),
    "twice": _kind(
        {"a": (2, 40)},
        """
        {who} has {a} {things} and {friend} has twice as many. How many do both have?
        On {day} {who} walked {a} miles, and on the next day double that. How far did {who} walk in both days?
        {friend} picked {a} {things}. {who} picked two times as many. What did the pair pick altogether?
        """,
        Step("b", "2", "*", "a", "Double the number is {sum}."),
        Step("c", "a", "+", "b", "The two together are {sum}."),
    ),
    "groups": _kind(
        {"a": (2, 9), "b": (2, 9), "c": (2, 9), "d": (2, 9)},
        """
        {who} plants {a} rows of {b} lilies and {c} rows of {d} roses. How many flowers is that?
        A hall has {a} benches for {b} people and {c} sofas for {d} people. How many people can sit?
        {who} packs {a} bags of {b} {things} and {friend} packs {c} bags of {d}. How many {things} are packed?
        """,
        Step("e", "a", "*", "b", "The first part is {sum}."),
        Step("f", "c", "*", "d", "The second part is {sum}."),
        Step("g", "e", "+", "f", "Both parts are {sum}."),
    ),
    "pooled share": _kind(
        {"b": (2, 8), "k": (3, 12), "x": (1, 9)},
        """
        {who} brings {x} {things} and {friend} brings {y}. They split all of them among {b} people. How many each?
        {x} pears and {y} more go evenly into {b} bowls. How many pears are in a bowl?
        A baker bakes {x} rolls and {y} rolls and fills {b} bags alike. How many rolls are in a bag?
        """,
        Step("t", "x", "+", "y", "In total there are {sum}."),
        Step("c", "t", "/", "b", "Every share is {sum}."),
        given=(
            Step("m", "b", "*", "k", ""),
            Step("n", "m", "+", "b", ""),
            Step("o", "n", "+", "b", ""),
            Step("y", "o", "-", "x", ""),
        ),
    ),
    "age": _kind(
        {"a": (4, 30), "b": (2, 20), "c": (2, 20)},
        """
        {who} is {a} years old. {friend} is {b} years older. How old will {friend} be in {c} years?
        {friend} was born {b} years before {who}, who is {a}. What will be the age of {friend} after {c} years?
        A tower is {a} metres high, a mast {b} metres higher, a flag {c} metres above that. How high is the flag?
        """,
        Step("d", "a", "+", "b", "To begin with, {sum}."),
        Step("e", "d", "+", "c", "And then, {sum}."),
    ),
    "weeks": _kind(
        {"a": (2, 9), "b": (2, 9), "c": (2, 9)},
        """
        {who} reads {a} pages in the morning and {b} in the evening. How many pages are read in {c} days?
        Every day a hen house gives {a} brown and {b} white eggs. How many eggs is that in {c} days?
        A guard walks {a} rounds before lunch and {b} rounds after it. How many rounds are walked in {c} days?
        """,
        Step("d", "a", "+", "b", "One day makes {sum}."),
        Step("e", "d", "*", "c", "All the days make {sum}."),
    ),
    "remainder shared": _kind(
        {"b": (2, 8), "k": (2, 10), "c": (2, 20)},
        """
        {who} keeps {c} of {a} {things} and deals the rest to {b} neighbours. How many does each get?
        Of {a} {things}, {c} are broken. The good ones fill {b} drawers alike. How many are in one drawer?
        A farmer eats {c} of {a} apples and feeds {b} goats evenly with the others. How many does one goat get?
        """,
        Step("d", "a", "-", "c", "To be shared: {sum}."),
        Step("e", "d", "/", "b", "For each: {sum}."),
        given=(Step("m", "b", "*", "k", ""), Step("a", "m", "+", "c", "")),
    ),
    "shop day": _kind(
        {"a": (10, 50), "b": (2, 8), "c": (2, 8), "d": (2, 9)},
        """
        A stall opens with {s} {things}, sells {b} to each of {c} buyers, then gets {d}. How many are there?
        {who} has {s} {things}, gives {b} to each of {c} cousins and finds {d}. How many are there in the end?
        From {s} {things} {who} uses {b} on each of {c} days, and {friend} donates {d}. How many are there then?
        """,
        Step("e", "b", "*", "c", "Gone are {sum}."),
        Step("f", "s", "-", "e", "Still there are {sum}."),
        Step("g", "f", "+", "d", "In the end there are {sum}."),
        given=(Step("m", "b", "*", "c", ""), Step("s", "m", "+", "a", "")),
    ),
}
