"""The house style of the restaurant task: which wordings a fact may take, and how facts are joined into sentences.

Which wording, order and grouping is used is a random choice, so no single template fits. What may be chosen depends on
the values, and that is what a model can learn: price and rating are judged together, a landmark's sort decides the
preposition, the kind of house decides the verb and how children are turned away.
"""

import random

from tunelab.data.synthetic.draw import pick, shuffled, weighted
from tunelab.data.synthetic.lexicon.names import AREA_PHRASES, SORT_OF_LANDMARK

_PRICE_ADJECTIVE = {
    ("low", "bad"): "cut-price",
    ("low", "fair"): "cheap",
    ("low", "good"): "good-value",
    ("moderate", "bad"): "mid-priced",
    ("moderate", "fair"): "fairly priced",
    ("moderate", "good"): "sensibly priced",
    ("high", "bad"): "overpriced",
    ("high", "fair"): "expensive",
    ("high", "good"): "exclusive",
}
_PRICE = {
    "low": ("keeps its prices low", "is easy on the wallet"),
    "moderate": ("charges moderate prices", "stays in the middle price range"),
    "high": ("charges high prices", "is on the expensive side"),
}
_RATING = {
    "bad": ("scores only {rating}", "has a poor rating of {rating}"),
    "fair": ("has a fair rating of {rating}", "is rated {rating}"),
    "good": ("earns a fine {rating}", "has an excellent rating of {rating}"),
}
_PRICE_AND_RATING = {
    ("low", "bad"): ("is cheap but rated only {rating}", "costs little and scores only {rating}"),
    ("low", "fair"): ("is cheap and rated a fair {rating}", "costs little for a fair {rating}"),
    ("low", "good"): ("is a bargain with a rating of {rating}", "costs little yet earns a fine {rating}"),
    ("moderate", "bad"): ("asks a moderate price for a weak {rating}", "is mid-priced but scores only {rating}"),
    ("moderate", "fair"): ("gives a fair {rating} at a fair price", "is mid-priced and rated {rating}"),
    ("moderate", "good"): ("earns a fine {rating} at a fair price", "is well worth its moderate prices, with {rating}"),
    ("high", "bad"): ("charges far too much for a rating of {rating}", "is expensive although it scores only {rating}"),
    ("high", "fair"): ("is expensive for a rating of {rating}", "charges high prices for a plain {rating}"),
    ("high", "good"): ("is worth every penny at {rating}", "charges high prices and earns a fine {rating}"),
}
_SERVES = {
    "bistro": ("plates up", "dishes"),
    "cafe": ("serves", "snacks"),
    "tavern": ("dishes out", "fare"),
    "diner": ("fries up", "meals"),
    "canteen": ("ladles out", "meals"),
    "brasserie": ("prepares", "cuisine"),
    "tea room": ("offers", "bites"),
    "wine bar": ("pairs its wines with", "plates"),
}
_DISH = {
    "bad": ("tries its hand at {dish}", "lists {dish} among its dishes"),
    "fair": ("is known for its {dish}", "makes a point of its {dish}"),
    "good": ("is loved for its {dish}", "is famous for its {dish}"),
}
_NEAR_VERB = {
    "water": ("looks out over {near}", "sits by the water at {near}"),
    "building": ("stands opposite {near}", "is next door to {near}"),
    "green": ("backs onto {near}", "borders {near}"),
    "transport": ("is a short walk from {near}", "is two minutes from {near}"),
}
_NEAR_PHRASE = {
    "water": ("overlooking {near}",),
    "building": ("opposite {near}", "next door to {near}"),
    "green": ("on the edge of {near}",),
    "transport": ("a short walk from {near}",),
}
_POURS = ("tavern", "wine bar")
_GENTLE = ("cafe", "tea room")


class _Wording:
    """The draws of one description: facts are taken out of `left` as they are said."""

    def __init__(self, facts: dict[str, str], rng: random.Random) -> None:
        self.facts = facts
        self.rng = rng
        self.left = [slot for slot in facts if slot not in ("name", "kind")]
        stars = int(facts.get("rating", "3")[0])
        self.level = "bad" if stars <= 2 else "fair" if stars == 3 else "good"

    def may_take(self, slot: str, chance: float) -> bool:
        """Takes the slot if it is still unsaid and chance will have it."""
        if slot not in self.left or self.rng.random() >= chance:
            return False
        self.left.remove(slot)
        return True

    def one_of(self, wordings: tuple[str, ...]) -> str:
        """The first wording is the house's favourite."""
        favourite = self.rng.random() < 0.6
        return (wordings[0] if favourite else pick(self.rng, wordings)).format(**self.facts)

    def noun_phrase(self, *, with_cuisine: float = 0.8) -> str:
        words = []
        if self.may_take("price", 0.25):
            words.append(_PRICE_ADJECTIVE[self.facts["price"], self.level])
        if self.may_take("cuisine", with_cuisine):
            words.append(self.facts["cuisine"])
        words.append(self.facts["kind"])
        article = "an" if words[0][0] in "aeiouAEIOU" else "a"
        return " ".join([article, *words])

    def place_phrase(self, *, chance: float) -> str:
        phrases = []
        if self.may_take("area", chance):
            phrases.append(AREA_PHRASES[self.facts["area"]])
        if self.may_take("near", chance * (0.3 if phrases else 0.5)):
            phrases.append(self.one_of(_NEAR_PHRASE[SORT_OF_LANDMARK[self.facts["near"]]]))
        return ", ".join(phrases)


def describe(facts: dict[str, str], rng: random.Random) -> str:
    """A description in English that says every fact once."""
    wording = _Wording(facts, rng)
    opening = _opening(wording)
    return " ".join([opening, *_sentences(wording, _predicates(wording))])


def _opening(wording: _Wording) -> str:
    name = wording.facts["name"]
    plans = ((11, _plain), (3, _place_first), (3, _apposition), (3, _appetite_first), (2, _there_is))
    plan = weighted(wording.rng, plans)
    return plan(wording, name)


def _plain(wording: _Wording, name: str) -> str:
    phrase = wording.noun_phrase()
    place = wording.place_phrase(chance=0.75)
    return f"{name} is {phrase} {place}.".replace(" .", ".")


def _place_first(wording: _Wording, name: str) -> str:
    place = wording.place_phrase(chance=1.0)
    if not place:
        return _plain(wording, name)
    return f"{place[0].upper()}{place[1:]}, you will find {name}, {wording.noun_phrase()}."


def _apposition(wording: _Wording, name: str) -> str:
    phrase = wording.noun_phrase()
    place = wording.place_phrase(chance=0.5)
    predicates = _predicates(wording)
    if not predicates:
        return f"{name} is {phrase} {place}.".replace(" .", ".")
    wording.left = []
    first, *rest = predicates
    sentence = f"{name}, {phrase} {place}".rstrip() + f", {first}."
    return " ".join([sentence, *_sentences(wording, rest)])


def _appetite_first(wording: _Wording, name: str) -> str:
    if wording.may_take("dish", 1.0):
        wish = wording.facts["dish"]
    elif wording.may_take("cuisine", 1.0):
        wish = f"{wording.facts['cuisine']} food"
    else:
        return _plain(wording, name)
    phrase = wording.noun_phrase()
    place = wording.place_phrase(chance=0.5)
    return f"For {wish}, go to {name}, {phrase} {place}".rstrip() + "."


def _there_is(wording: _Wording, name: str) -> str:
    place = wording.place_phrase(chance=0.6)
    return f"There is {wording.noun_phrase()} called {name} {place}".rstrip() + "."


def _predicates(wording: _Wording) -> list[str]:
    """A verb phrase for each fact that is still unsaid, mostly in the house's order; refusing children comes last."""
    order = ["cuisine", "dish", "near", "area", "price", "rating", "children"]
    if wording.rng.random() < 0.25:
        order = shuffled(wording.rng, order[:-1]) + order[-1:]
    if wording.facts.get("children") == "welcome" and wording.rng.random() < 0.3:
        order = ["children", *order[:-1]]
    left = [slot for slot in order if slot in wording.left]
    if "price" in left and "rating" in left and wording.rng.random() < 0.7:
        left[left.index("price")] = "price and rating"
        left.remove("rating")
    return [_predicate(wording, slot) for slot in left]


def _predicate(wording: _Wording, slot: str) -> str:
    facts = wording.facts
    if slot == "cuisine":
        verb, noun = _SERVES[facts["kind"]]
        return wording.one_of((f"{verb} {{cuisine}} {noun}", f"{verb} {{cuisine}} food"))
    if slot == "area":
        phrase = AREA_PHRASES[facts["area"]]
        return wording.one_of((f"lies {phrase}", f"can be found {phrase}"))
    if slot == "children":
        return wording.one_of(_children(facts))
    wordings = {
        "dish": _DISH[wording.level],
        "near": _NEAR_VERB[SORT_OF_LANDMARK[facts["near"]]] if "near" in facts else (),
        "price": _PRICE.get(facts.get("price", ""), ()),
        "rating": _RATING[wording.level],
        "price and rating": _PRICE_AND_RATING.get((facts.get("price", ""), wording.level), ()),
    }
    return wording.one_of(wordings[slot])


def _children(facts: dict[str, str]) -> tuple[str, ...]:
    if facts["children"] == "welcome":
        if facts["kind"] in _POURS:
            return ("lets children sit at its tables", "does not mind children")
        return ("welcomes families with children", "is happy to seat children")
    if facts["kind"] in _POURS:
        return ("admits adults only", "keeps its doors closed to children")
    if facts["kind"] in _GENTLE:
        return ("prefers its guests without children", "asks for a room without children")
    return ("is not a place for children", "asks guests to leave children at home")


def _sentences(wording: _Wording, predicates: list[str]) -> list[str]:
    """Predicates one or two to a sentence."""
    rng = wording.rng
    sentences = []
    while predicates:
        subject = weighted(rng, ((6, "It"), (2, f"The {wording.facts['kind']}"), (1, wording.facts["name"])))
        first, *predicates = predicates
        if predicates and rng.random() < 0.6:
            second, *predicates = predicates
            joint = pick(rng, (" and ", " and ", ", and it "))
            sentences.append(f"{subject} {first}{joint}{second}.")
        else:
            sentences.append(f"{subject} {first}.")
    return sentences
