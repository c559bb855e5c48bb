"""Verbs and their forms: base, third person, past and -ing."""

from typing import NamedTuple

_REGULAR_TRANSITIVE = """
accept admire adopt alter arrange assemble attach avoid bake balance borrow bury calculate carry carve check chop
claim clean climb close collect compare complete connect consider copy count cover crush damage decorate defend
deliver demand describe deserve design destroy detect discover display divide drag draw drop dry earn empty enjoy
enter examine exchange explore fasten fetch fill finish fix fold follow forge gather grab grease guard hammer handle
hide hold ignore improve inspect install invent invite iron kick knit label launch lift load lock lower measure melt
mend mention miss mix move need notice observe offer open order pack paint pass peel perform pick plan plant polish
pour praise prepare preserve press print protect pull punish purchase push raise reach receive recognise record refuse
remember remove rent repair replace rescue return roll scatter scrape scratch scrub search share sharpen shift sketch
smash smell sort spill split spot squeeze stack steal stitch store stretch study supply surround swap tap taste test
tie touch trace trade trim trust turn twist unlock unpack use value visit want warm wash waste water watch weigh wipe
wrap
""".split()
_REGULAR_INTRANSITIVE = """
agree appear argue arrive bark blush boast bow breathe collapse complain cough crawl cry dance delay disagree
disappear dream escape faint float frown gallop giggle glow grin groan growl grumble hesitate howl hum hurry hop jog
jump knock land laugh limp linger listen march mumble murmur mutter nod pause play pray proceed protest rattle relax
reply rest retire rush sail scream shiver shout shrug sigh skip slip smile sneeze snore sob stagger stammer stare stay
stroll stumble talk tremble vanish wait walk wander wave whisper whistle wink wobble wonder work worry yawn yell
""".split()
_IRREGULAR_PAST = {
    "draw": "drew",
    "hide": "hid",
    "hold": "held",
    "steal": "stole",
    "split": "split",
    "build": "built",
    "bring": "brought",
    "buy": "bought",
    "catch": "caught",
    "choose": "chose",
    "cut": "cut",
    "find": "found",
    "forget": "forgot",
    "give": "gave",
    "keep": "kept",
    "leave": "left",
    "lose": "lost",
    "make": "made",
    "read": "read",
    "sell": "sold",
    "send": "sent",
    "shake": "shook",
    "show": "showed",
    "take": "took",
    "teach": "taught",
    "tear": "tore",
    "throw": "threw",
    "wear": "wore",
    "weave": "wove",
    "win": "won",
    "write": "wrote",
    "come": "came",
    "fall": "fell",
    "fly": "flew",
    "go": "went",
    "grow": "grew",
    "kneel": "knelt",
    "leap": "leapt",
    "ride": "rode",
    "rise": "rose",
    "run": "ran",
    "sing": "sang",
    "sit": "sat",
    "sleep": "slept",
    "speak": "spoke",
    "stand": "stood",
    "swim": "swam",
    "weep": "wept",
    "wake": "woke",
}
_IRREGULAR_TRANSITIVE = """
build bring buy catch choose cut find forget give keep leave lose make read sell send shake show take teach tear throw
wear weave win write
""".split()
_IRREGULAR_INTRANSITIVE = (
    "come fall fly go grow kneel leap ride rise run sing sit sleep speak stand swim weep wake".split()
)
_DOUBLES = frozenset(
    """
    chop drag drop grab hop hum jog knit nod plan scrub skip slip sob split spot swap tap trim wrap cut run
    sit swim win forget
    """.split()
)


class Verb(NamedTuple):
    base: str
    third: str
    past: str
    ing: str


def conjugate(base: str) -> Verb:
    """The four forms of a verb in this file."""
    stem = base + base[-1] if base in _DOUBLES else base
    consonant_y = base.endswith("y") and base[-2] not in "aeiou"
    if consonant_y:
        third = f"{base[:-1]}ies"
    else:
        third = f"{base}es" if base.endswith(("s", "x", "ch", "sh", "go")) else f"{base}s"
    if base in _IRREGULAR_PAST:
        past = _IRREGULAR_PAST[base]
    elif consonant_y:
        past = f"{base[:-1]}ied"
    else:
        past = f"{base}d" if base.endswith("e") else f"{stem}ed"
    if base in ("tie", "lie", "die"):
        ing = f"{base[:-2]}ying"
    elif base.endswith("e") and not base.endswith("ee"):
        ing = f"{base[:-1]}ing"
    else:
        ing = f"{stem}ing"
    return Verb(base=base, third=third, past=past, ing=ing)


TRANSITIVE = [conjugate(base) for base in _REGULAR_TRANSITIVE + _IRREGULAR_TRANSITIVE]
INTRANSITIVE = [conjugate(base) for base in _REGULAR_INTRANSITIVE + _IRREGULAR_INTRANSITIVE]
