"""Encyclopaedic paragraphs about a place, a person's life, an animal, a plant, a craft or a dish."""

import random

from tunelab.data.synthetic.draw import pick
from tunelab.data.synthetic.lexicon import names, things
from tunelab.data.synthetic.templates import LEXICON, compiled, fill_some, with_articles

_PLACE = compiled("""
    {town:it} is a {placid} settlement in the valley of the {river}.
    The name {town:it} was first written down in {year}.
    {town:it} has {count} streets and {few} {sites}.
    The {site} in the centre was built of {material} in {year} by {person} {surname}.
    To the north of {town:it} lie {placid} {sites} and a {site}.
    The inhabitants live by selling {foods}, {tools} and {material}.
    In {season} the {weather} may last for {few} weeks.
    A {vehicle} connects {town:it} with {town} every {few} hours.
    The museum keeps a {adj} {tool} that belonged to {person} the {job}.
    During the {ordinal} week of {month} the {group} marches through {street}.
    Most houses have {colour} doors and {adj} roofs of {material}.
    The local school teaches {subject}, {subject} and {subject}.
    Travellers {often} stop at the {kind} beside {landmark} for {dish}.
    {town:it} is famous for {cuisine} cooking and for its {adj} {tools}.
    The bridge over the {river} was damaged by {weather} in {year}.
    Its coat of arms shows a {colour} {animal} and {few} {plants}.
    Between {year} and {year} the population doubled.
    The area around {landmark} was once a {placid} {site}.
    The oldest quarter, known for its {jobs}, burned down in {year}.
    Nearby towns are {town}, {town} and {town}.
""")
_LIFE = compiled("""
    {person:who} {surname:who} ({year} to {year}) was a {kindly} {job}.
    {person:who} was the {ordinal} child of a {job} and a {job}.
    At the age of {few} {person:who} began to study {subject}.
    {person:who} spent {few} years in {town} and learned to {do} {tools}.
    The young {surname:who} travelled by {vehicle} to {town}.
    In {year} {person:who} {did} a {material} {tool}, which made the {surname:who} family rich.
    Critics found the work of {surname:who} {adj} but {adj}.
    The {job} {person} {surname} was a close friend.
    A {adj} portrait of {surname:who} hangs in the {site} of {town}.
    Among the pupils of {surname:who} were {few} {jobs}.
    {surname:who} disliked {foods} and {often} drank {drink}.
    {person:who} wrote {few} books about {idea} and {idea}.
    In later life {surname:who} became {kindly} and {kindly}.
    A street in {town} is named after {person:who} {surname:who}.
    "I never {did} a {noun} without {idea}," {surname:who} once said.
    Letters from the year {year} speak of {idea}, {feeling} and debts.
    {surname:who} received a {adj} medal from the {group} of {town}.
    The house where {surname:who} was born is a {site} today.
""")
_ANIMAL = compiled("""
    The {colour} {animal:it} is a {kindly} animal found in {placid} {sites}.
    {animals} and {animals} are its closest relatives.
    An adult has {few} {adj} teeth and a {colour} {body}.
    It feeds on {foods}, {plants} and {animals}.
    The female lays {few} eggs {where}.
    The young learn to {act} after {few} weeks.
    In {season} the {animal:it} {often} {acts} {where}.
    Farmers dislike the {animal:it} because it {does} their {plants}.
    When it hears a {animal}, it {acts} {how}.
    The {animal:it} can {act} for {few} hours without rest.
    It was described by the {job} {surname} in {year}.
    Its fur is used to make {clothes} and {clothes}.
    About {hundreds} of them live near {town}.
    Old songs speak of the {animal:it} as a sign of {idea}.
    The tail is {degree} {adj} and as long as a {tool}.
    A {animal:it} that feels {feeling} will {act} and {act}.
""")
_PLANT = compiled("""
    The {plant:it} is a {adj} plant with {colour} flowers.
    It grows {where} and in {placid} {sites}.
    The leaves are {adj}, {adj} and {colour} below.
    The {plant:it} flowers in {month} and {month}.
    Its seeds are carried away by {animals}.
    {jobs} {often} use the bark to {do} {tools}.
    Tea made from {plants} is said to cure {feeling}.
    In {town} the {plant:it} stands for {idea}.
    It does not like {weather} or {weather}.
    A {plant:it} can be {count} years old and {few} metres tall.
    Gardeners plant it next to {foods} and {plants}.
    The wood is {adj} and good for {furniture} making.
""")
_CRAFT = compiled("""
    To {do} a {tool:it}, a {job} needs {material} and {idea}.
    First {do} the {material} with a {adj} {tool}.
    Then {do} it {how} and wait for {few} days.
    A {tool:it} of {material} lasts longer than one of {material}.
    The oldest {tool:it} was found {where} near {town}.
    The art of making {tools} came to {town} in {year}.
    Never {do} a {adj} {tool:it} before it is dry.
    {few} {jobs} can {do} {count} {tools} in a week.
    Good {tools} are {adj}, {adj} and not too {adj}.
    Today most {tools} are made by machines in {town}.
    The {job} {does} the {tool:it} while the {job} {does} the handle.
    {colour} paint keeps the {material} from rusting or rotting.
    A simple {tool:it} costs {few} coins, a {adj} one {hundreds}.
""")
_DISH = compiled("""
    {dish:it} is a {cuisine} meal made with {foods} and {food}.
    Wash the {foods} and chop {few} {foods}.
    Cook the {food} in {drink} for {count} minutes.
    Add {food}, {food} and a little {food}.
    The taste is {degree} sharp and {degree} sweet.
    Families in {town} eat it in {season} with {drink}.
    A {kindly} cook stirs the pot {how}.
    Some {jobs} prefer {foods} to {foods}.
    {cuisine} and {cuisine} cooks quarrel about the right spice.
    Serve it hot in a {material} bowl.
    The recipe was printed by {person} {surname} in {year}.
    Leftovers can be fried {when} with {foods}.
    Every {kind} in {area} has its own version.
    Without {food} it would taste of nothing but {food}.
    Children often ask for {dish} instead.
""")
_PORTRAITS = (_PLACE, _PLACE, _LIFE, _LIFE, _ANIMAL, _PLANT, _CRAFT, _DISH)


def document(rng: random.Random) -> str:
    """A paragraph of four to nine sentences about one subject."""
    templates = pick(rng, _PORTRAITS)
    bound: dict[str, str] = {}
    if templates is _LIFE:
        bound = {"person:who": pick(rng, LEXICON["person"]), "surname:who": pick(rng, names.SURNAMES)}
    if templates is _CRAFT:
        tool = pick(rng, things.TOOLS)
        bound = {"tool:it": tool, "tools": things.plural(tool)}
    first, *rest = templates
    sentences = [first.fill(rng, bound), *fill_some(rng, rest, bound, num=3 + int(rng.random() * 6))]
    return with_articles(" ".join(sentences))
