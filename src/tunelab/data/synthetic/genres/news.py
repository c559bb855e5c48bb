"""Paragraphs in the manner of a local newspaper, under a dateline instead of a headline."""

import random

from tunelab.data.synthetic.draw import pick, shuffled
from tunelab.data.synthetic.templates import compiled, fill_some, with_articles

_LEADS = compiled("""
    {town:at}, {month} {date}. The {group:who} of {town:at} has decided to {do} the {adj} {site:what}.
    {town:at}, {day}. Heavy {weather} has closed the {site:what} and {few} roads.
    {town:at}, {day} evening. A {vehicle:what} carrying {foods} broke down near {landmark}.
    {town:at}, {month} {date}. The {job:who} {person:who} {surname:who} has been chosen to lead the {group:what}.
    {town:at}, {month} {year}. A {adj} {tool:what} worth {hundreds} coins has been stolen from the {site}.
    {town:at}, {season} {year}. Researchers have found {hundreds} {animals} in the {site:what}.
    {town:at}, {day}. The price of {food:what} rose by {count} per cent this week.
    {town:at}, {day} morning. The {site:what} on {street} will open its doors in {month}.
    {town:at}, {month} {date}. A {animal:what} escaped from the zoo and was caught {where}.
    {town:at}, {day}. The {group:what} won its match against {town} by {few} points.
    {town:at}, {month} {date}. Workers at the {material} mill stopped work for {few} hours.
    {town:at}, {year}. The first {vehicle:what} between {town:at} and {town} left {when}.
""")
_DETAILS = compiled("""
    More than {hundreds} people gathered {where}.
    According to the police, nobody was hurt.
    The {job} {surname} told reporters that the work would cost {hundreds} thousand crowns.
    It was the {ordinal} time this {season}.
    The mayor spoke of {feeling} and {feeling}.
    Traffic on {street} had to be led past {landmark}.
    Residents were asked to {do} their {tools} and stay at home.
    A {kindly} {job} who saw it said the noise was like a {animal}.
    Experts blame the {weather} and a {adj} {tool}.
    The {group} of {town} has promised {few} {vehicle} loads of {foods}.
    Schools stayed shut until {day}.
    The money will come from a tax on {foods}.
    {person} {surname}, who {does} {tools} nearby, lost {count} crowns.
    A similar case was seen in {town} in {year}.
    The court will hear the matter in {month}.
    Shops in the {area} sold {count} {tools} within an hour.
    Some of the {jobs} refused to {act}.
    Firefighters needed {few} hours to {do} the {site}.
    "We are {degree} {kindly} and a little {kindly}," one visitor said.
    "Nobody asked us," said {surname}, a {job} aged {count}.
    "This is a {adj} day for {town:at}," said {person} {surname}.
    "I would rather {do} a {noun}," joked the {job}.
    A decision is expected before the end of {month}.
    The {job} did not wish to {act} about the {idea}.
    Helpers handed out {drink} and {dish}.
    Tickets were gone after {count} minutes.
    The council will {do} the plan again in {season}.
    Until then the {site} remains closed.
    Whether {idea} or {idea} was the cause is not known.
    Insurance will pay for {few} of the {count} {tools}.
""")


def document(rng: random.Random) -> str:
    """One or two reports of three to seven sentences."""
    reports = []
    for _ in range(1 + int(rng.random() * 1.6)):
        bound: dict[str, str] = {}
        lead = pick(rng, _LEADS).fill(rng, bound)
        details = fill_some(rng, _DETAILS, bound, num=2 + int(rng.random() * 5))
        reports.append(" ".join([lead, *shuffled(rng, details)]))
    return with_articles("\n".join(reports))
