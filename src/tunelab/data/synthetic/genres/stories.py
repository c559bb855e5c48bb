"""Very short stories: a beginning, a trouble, an attempt, an ending, with one hero and one companion throughout."""

import random

from tunelab.data.synthetic.draw import pick
from tunelab.data.synthetic.lexicon import names
from tunelab.data.synthetic.templates import compiled, fill_some, with_articles

_BEGINNINGS = compiled("""
    Once there was a {kindly} {job} called {hero} who lived {where}.
    {hero} was a {kindly} {job} from {town}.
    {when}, {hero} found a {adj:first} {tool:prize} {where}.
    Long ago a {job} named {hero} kept {few} {animals} in {town}.
    In the {placid} town of {town} lived {hero} and a {adj} {animal:pet}.
    {hero} had never seen a {animal:pet} before.
    It was {season}, and {hero} wanted to {do} the {tool:prize}.
    Every {day} {hero} {did} a {tool:prize} for the {job}.
    {hero} and {friend} were {degree} {kindly} children.
    Nobody in {town} was as {kindly} as {hero} the {job}.
    A letter came for {hero} {when}.
    When {hero} was {few} years old, a {job} gave {him} a {adj} {tool:prize}.
    {hero} lived alone with a {animal:pet} in a {placid} {site}.
    The {job} told {hero} about a {adj} {site:goal} {where}.
    {hero} woke up {when} and heard the {weather}.
""")
_TROUBLES = compiled("""
    One day the {tool:prize} was gone.
    But the {animal:pet} {acted} and would not {act}.
    Then a {job:rival} came and {did} everything.
    Suddenly the {weather} began, and {he} {acted}.
    {he} was full of {feeling}, for the {site:goal} was far away.
    "Where is my {tool:prize}?" {he} asked.
    The {job:rival} said that nobody could {do} it.
    That night {he} dreamed of a {adj} {animal} with {colour} eyes.
    A {animal} had stolen the {tool:prize} {where}.
    "I am {degree} {kindly}," said {friend}, "but I cannot {do} the {tool}."
    The road to the {site:goal} was {adj} and {adj}.
    {friend} {acted} {how} and pointed at the {tool:prize}.
    All the {jobs} of the town began to {act}.
    Without the {tool:prize} {he} could not {do} the {noun}.
    There was no {food} left in the house.
""")
_ATTEMPTS = compiled("""
    So {he} {did} a {adj} {tool} and {acted} {how}.
    {he} asked {friend} to {do} the {noun}.
    Together they {did} the {noun} and {acted} until {day}.
    {friend} looked {where}, while {he} {did} the {tools}.
    {he} {how} {did} a {tool} with {his} left {body}.
    First {he} {did} the {plant}, then {he} {did} the {noun}.
    {he} walked for {few} days and met {few} {animals} on the way.
    "Let us {do} the {noun} {how}," said {friend}.
    A {kindly} {job} offered {him} a {material} {tool}.
    {he} gave the {job:rival} {few} {foods} and a cup of {drink}.
    The {animal:pet} ran {where} and came back with a {noun}.
    With {feeling} {he} opened the {adj} {furniture}.
    {he} tried to {do} it, but it was too {adj}.
    For {few} hours {they} sat {where} and listened to the {weather}.
    "What would a {job} do?" {he} wondered.
    {he} climbed over the {site} and {did} a {adj} {noun}.
""")
_ENDINGS = compiled("""
    In the end {he} found the {tool:prize} {where}.
    From that day on {hero} and {friend} were never {kindly} again.
    {they} laughed, and the {animal:pet} {acted} too.
    The {job:rival} was so {kindly} that {he} gave it back.
    And so {hero} became the most {kindly} {job} in the land.
    {he} went home, ate some {dish} and slept {how}.
    "Now I know what {idea} means," said {hero}.
    The {tool:prize} still hangs {where}.
    People in the town still tell the story of {hero}.
    {friend} gave {him} {few} {foods} as a present.
    After that {he} {often} forgot the {tool:prize}.
    Nobody ever saw the {job:rival} again.
    It had been {where} all the time.
    {he} learned that {idea} is worth more than {idea}.
    That is why {animals} {act} to this day.
""")


def document(rng: random.Random) -> str:
    """A story of four to nine sentences."""
    female = rng.random() < 0.5
    hero = pick(rng, names.WOMEN if female else names.MEN)
    bound = {
        "hero": hero,
        "friend": pick(rng, names.MEN if rng.random() < 0.5 else names.WOMEN),
        "he": "she" if female else "he",
        "his": "her" if female else "his",
        "him": "her" if female else "him",
        "they": "they",
    }
    sentences = (
        fill_some(rng, _BEGINNINGS, bound, num=1)
        + fill_some(rng, _TROUBLES, bound, num=1 + int(rng.random() * 2))
        + fill_some(rng, _ATTEMPTS, bound, num=1 + int(rng.random() * 4))
        + fill_some(rng, _ENDINGS, bound, num=1 + int(rng.random() * 2))
    )
    return with_articles(" ".join(sentences))
