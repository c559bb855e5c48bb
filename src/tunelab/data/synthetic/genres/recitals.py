"""Words and small tables read back: text whose second half can only be known from its first.

A small model learns from little text to copy names out of a record when much of that text is copying.
"""

import random
from collections.abc import Callable, Sequence

from tunelab.data.synthetic.draw import pick, shuffled, weighted

Passage = Callable[[random.Random], str]

_OPENINGS = ("list", "words", "note", "read", "items")
_AGAIN = ("again", "copy", "repeat", "once more", "the same")
_JOINTS = (", ", " ; ", " ", " / ")
_EQUALS = (" = ", ": ", " is ", " -> ")


def document(rng: random.Random, passages: Sequence[Passage]) -> str:
    """Words drawn from passages of other kinds, read back once or twice."""
    return weighted(rng, ((1, _verbatim), (1, _looked_up)))(rng, passages)


def _words(rng: random.Random, passages: Sequence[Passage], *, most: int) -> list[str]:
    text = pick(rng, passages)(rng) + " " + pick(rng, passages)(rng)
    words = dict.fromkeys(word.strip(".,;:?!\"'-[]()=") for word in text.split())
    return shuffled(rng, [word for word in words if word])[:most]


def _verbatim(rng: random.Random, passages: Sequence[Passage]) -> str:
    joint = pick(rng, _JOINTS)
    line = joint.join(_words(rng, passages, most=6 + int(rng.random() * 14)))
    lines = [f"{pick(rng, _OPENINGS)}: {line}"]
    lines += [f"{pick(rng, _AGAIN)}: {line}" for _ in range(1 + int(rng.random() * 2))]
    return "\n".join(lines)


def _looked_up(rng: random.Random, passages: Sequence[Passage]) -> str:
    """A small table, then its rows in another order and with another sign between key and value."""
    words = _words(rng, passages, most=28)
    rows = []
    while len(words) > 3 and len(rows) < 7:
        length = 1 + int(rng.random() * 3)
        rows.append((words[0], " ".join(words[1 : 1 + length])))
        words = words[1 + length :]
    joint = pick(rng, _JOINTS[:2])
    parts = []
    for _ in range(2 + int(rng.random() * 2)):
        equals = pick(rng, _EQUALS)
        parts.append(joint.join(f"{key}{equals}{value}" for key, value in rows))
        rows = shuffled(rng, rows)
    return "\n".join(parts)
