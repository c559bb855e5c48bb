"""What the chat task talks about: how a topic is asked, and how its answer is found."""

import random
from collections.abc import Callable
from typing import NamedTuple

from tunelab.data.synthetic.draw import pick, shuffled
from tunelab.data.synthetic.lexicon import describing, doing, food, names, things

_PAST = {verb.base: verb.past for verb in doing.TRANSITIVE + doing.INTRANSITIVE}
_VERBS = tuple(_PAST)
_NOUNS = (*things.ANIMALS, *things.TOOLS, *things.PLANTS)
_CATEGORIES = {
    **dict.fromkeys(things.TOOLS, "tool"),
    **dict.fromkeys(food.INGREDIENTS, "food"),
    **dict.fromkeys(things.JOBS, "job"),
    **dict.fromkeys(things.ANIMALS, "animal"),
    **dict.fromkeys(things.VEHICLES, "vehicle"),
}
_CUISINE_OF = {dish: cuisine for cuisine, dishes in food.DISHES_BY_CUISINE.items() for dish in dishes}


class Topic(NamedTuple):
    draw: Callable[[random.Random], tuple[str, ...]]
    solve: Callable[..., str]
    questions: tuple[str, ...]
    again: str
    """How a follow-up names its arguments."""
    answer: str


def _one(words: tuple[str, ...] | list[str]) -> Callable[[random.Random], tuple[str, ...]]:
    return lambda rng: (pick(rng, words),)


def _numbers(low: int, high: int) -> Callable[[random.Random], tuple[str, ...]]:
    return lambda rng: tuple(str(low + int(rng.random() * (high - low))) for _ in range(2))


def _three_words(rng: random.Random) -> tuple[str, ...]:
    return tuple(shuffled(rng, _NOUNS)[:3])


TOPICS = {
    "opposite": Topic(
        draw=_one(tuple(describing.OPPOSITES)),
        solve=lambda word: describing.OPPOSITES[word],
        questions=(
            "What is the contrary of {0}?",
            "I need a word that means the reverse of {0}.",
            "Turn {0} into its opposite.",
        ),
        again="{0}",
        answer="The reverse of {0} would be {short}.",
    ),
    "plural": Topic(
        draw=_one(_NOUNS),
        solve=things.plural,
        questions=(
            "How do I write more than one {0}?",
            "Please give me the plural form of {0}.",
            "One {0}, but two what?",
        ),
        again="{0}",
        answer="You write {short}.",
    ),
    "past": Topic(
        draw=_one(_VERBS),
        solve=lambda verb: _PAST[verb],
        questions=(
            "What is the past tense of {0}?",
            "Today I {0}. And what did I do yesterday?",
            "Put {0} into the past.",
        ),
        again="{0}",
        answer="In the past tense it is {short}.",
    ),
    "larger": Topic(
        draw=_numbers(1, 1000),
        solve=lambda first, second: str(max(int(first), int(second))),
        questions=(
            "Which is bigger, {0} or {1}?",
            "Compare {0} with {1} and tell me the bigger one.",
            "{0} or {1}: which is more?",
        ),
        again="{0} and {1}",
        answer="The bigger one is {short}.",
    ),
    "sum": Topic(
        draw=_numbers(1, 60),
        solve=lambda first, second: str(int(first) + int(second)),
        questions=(
            "Could you add {0} and {1}?",
            "How much is {0} and {1} together?",
            "I have {0} and get {1}. What is the total?",
        ),
        again="{0} and {1}",
        answer="The total is {short}.",
    ),
    "category": Topic(
        draw=_one(tuple(_CATEGORIES)),
        solve=lambda word: _CATEGORIES[word],
        questions=(
            "Is {0} a tool, a food, a job, an animal or a vehicle?",
            "What sort of thing is {0}?",
            "Please classify {0}.",
        ),
        again="{0}",
        answer="I would file {0} under {short}.",
    ),
    "alphabet": Topic(
        draw=_three_words,
        solve=lambda *words: ", ".join(sorted(words)),
        questions=("Sort these words by letter: {0}, {1}, {2}.", "Put {0}, {1} and {2} in alphabetical order."),
        again="{0}, {1} and {2}",
        answer="Sorted, the words are {short}.",
    ),
    "spelling": Topic(
        draw=_one((*_NOUNS, *names.TOWNS)),
        solve=lambda word: "-".join(word),
        questions=("How is {0} spelt?", "Please spell {0} for me.", "Which letters make up {0}?"),
        again="{0}",
        answer="It is spelt {short}.",
    ),
    "cuisine": Topic(
        draw=_one(tuple(_CUISINE_OF)),
        solve=lambda dish: _CUISINE_OF[dish],
        questions=(
            "I would love some {0}. Which cuisine should I look for?",
            "Where does one cook {0}?",
            "Who is known for {0}?",
        ),
        again="{0}",
        answer="For {0} look for {short} cooking.",
    ),
    "repeat": Topic(
        draw=_three_words,
        solve=lambda *words: " ".join(reversed(words)),
        questions=("Say {0} {1} {2} backwards, word by word.", "Reverse the order of these words: {0} {1} {2}."),
        again="{0} {1} {2}",
        answer="Backwards it goes {short}.",
    ),
}
