"""Conversations written as a script: a name, a colon and what the person says."""

import random

from tunelab.data.synthetic.draw import pick
from tunelab.data.synthetic.templates import LEXICON, Template, compiled, with_articles

_EXCHANGES = [
    [Template(line.strip()) for line in exchange.strip().splitlines()]
    for exchange in """
    Good morning, {other}. Did you {do} the {tool:x}?
    Yes, I {did} it {when}. It is {where}.
    --
    What are you doing with that {adj} {tool:x}?
    I am {doing} it. A {job} must {often} {do} a {tool:x}.
    --
    Have you ever been to {town:x}?
    Only once, in {year}. {town:x} was {degree} {placid}.
    --
    How many {animals} do you keep?
    {count}, and most of them {act}.
    --
    Why are you so {kindly:x} today?
    I am not {kindly:x}, I am {kindly}.
    --
    Can you lend me {count} coins until {day:x}?
    On {day:x} I need them myself. Ask {person}.
    --
    What shall we eat tonight?
    I would like {dish:x}. We still have {foods} and some {food}.
    --
    Where does the {vehicle:x} to {town} leave?
    The {vehicle:x} leaves from {street} at {hour} o'clock.
    --
    I dreamed of a {colour:c} {animal:x}.
    A {colour:c} {animal:x} means {idea}, my grandmother used to say.
    --
    Is it true that {person:x} became a {job:j}?
    Yes, {person:x} is a {job:j} in {town} now.
    --
    Who {did} my {furniture:x}?
    Nobody touched your {furniture:x}. Look {where}.
    --
    The {weather:x} is terrible.
    I like {weather:x}. It makes the {plants} grow.
    --
    Do you prefer {foods:a} or {foods:b}?
    I prefer {foods:b}. {foods:a} are too {adj}.
    --
    Which colour shall we paint the {site:x}?
    Let us paint the {site:x} {colour:c}. Everyone likes {colour:c}.
    --
    What is {subject:x} good for?
    With {subject:x} one can {do} any {tool}.
    --
    When does the {site:x} open?
    The {site:x} opens at {hour} in {season}.
    --
    I have lost my {clothes:x}.
    Was it the {colour} {clothes:x}? I saw it {where}.
    --
    My {animal:x} will not {act:v}.
    Give it some {foods}, then your {animal:x} will {act:v} again.
    --
    Tell me about {river:x}.
    The {river:x} is {count} miles long and full of {animals}.
    --
    Thank you for the {tool:x}.
    You are welcome. The {tool:x} was a gift from {person}.
    --
    Did the {cuisine:x} cook come back?
    No, the {cuisine:x} cook went to {town} to open a {kind}.
    --
    Please {do:v} the {noun:x}.
    I have {few} reasons not to {do:v} the {noun:x}.
    --
    Is {landmark:x} far from here?
    Not at all. Follow {street} and you will see {landmark:x}.
    --
    Your {body:x} looks {adj}.
    I hurt my {body:x} when I fell off the {vehicle}.
    """.split("--")
]
_GREETINGS = compiled("""
    Hello, {other}!
    Good evening, {other}.
    Ah, {other}, come in and sit down.
    Well, {other}, how is the {job} from {town}?
    Listen, {other}, I must tell you something.
""")
_FAREWELLS = compiled("""
    Goodbye then, and be careful.
    See you on {day}.
    I must go, the {animal} is waiting.
    Now I have work to do. Until {month}!
    Give my regards to {person}.
""")


def document(rng: random.Random) -> str:
    """A conversation of two people with two to five exchanges."""
    first, second = pick(rng, LEXICON["person"]), pick(rng, LEXICON["person"])
    lines = []

    def say(speaker: str, listener: str, template: Template, bound: dict[str, str]) -> None:
        lines.append(f"{speaker}: {template.fill(rng, bound | {'other': listener})}")

    if rng.random() < 0.5:
        say(first, second, pick(rng, _GREETINGS), {})
        say(second, first, pick(rng, _GREETINGS), {})
    for _ in range(2 + int(rng.random() * 4)):
        asks, answers = (first, second) if rng.random() < 0.6 else (second, first)
        question, answer = pick(rng, _EXCHANGES)
        bound: dict[str, str] = {"other": answers}
        lines.append(f"{asks}: {question.fill(rng, bound)}")
        lines.append(f"{answers}: {answer.fill(rng, bound)}")
    if rng.random() < 0.5:
        say(first, second, pick(rng, _FAREWELLS), {})
    return with_articles("\n".join(lines))
