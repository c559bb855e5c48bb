"""The events that the headlines task reports: first sentences, further sentences and headlines of each."""

from typing import NamedTuple

from tunelab.data.synthetic.templates import Template, compiled


class Event(NamedTuple):
    key: tuple[str, ...]
    """The facts that, with the town, decide the split; a headline names some of them."""
    leads: list[Template]
    details: list[Template]
    headlines: list[Template]


def _event(key: str, leads: str, details: str, headlines: str) -> Event:
    return Event(tuple(key.split()), compiled(leads), compiled(details), compiled(headlines))


EVENTS = {
    "escape": _event(
        "animal count",
        """
        A {animal} got out of its cage in {town} and roamed the streets for {count} minutes.
        People in {town} stared as a {animal} strolled down {street} for some {count} minutes.
        For {count} minutes a runaway {animal} kept the whole of {town} on its toes.
        """,
        """
        The {animal} was finally lured back with {food} by a {job}.
        Drivers on {street} stopped their cars to let the {animal} pass.
        {surname}, who owns the {animal}, apologised to everyone.
        """,
        """
        Runaway {animal} caught in {town}
        {animal} on the loose in {town} for {count} minutes
        {town} chases escaped {animal}
        """,
    ),
    "award": _event(
        "job surname",
        """
        The {job} {surname} of {town} has won the national prize for the best {tool}.
        A prize for the finest {tool} in the land goes to {surname}, a {job} in {town}.
        Judges have named {surname}, the well-known {town} {job}, winner with a {tool}.
        """,
        """
        The prize comes with {count} crowns.
        {surname} worked on the {tool} since {month}.
        The {tool} can be seen in the {site} from {month}.
        """,
        """
        {town} {job} wins prize for {tool}
        Prize-winning {tool} made in {town}
        {surname} honoured for best {tool}
        """,
    ),
    "closure": _event(
        "site month",
        """
        The {site} in {town} will close in {month} because the money has run out.
        After {count} years the {town} {site} is to shut its gates in {month}.
        From {month} there will be no {site} in {town} any more, the council said.
        """,
        """
        {count} people work at the {site}.
        The {job} {surname} called it a black day for the {site}.
        A petition to keep it has {count} names.
        """,
        """
        {town} to lose its {site} in {month}
        {site} in {town} closes in {month}
        No money for {town} {site}
        """,
    ),
    "opening": _event(
        "site month",
        """
        Work on the long-awaited {site} in {town} ends this week, and it opens in {month}.
        {town} will get its own {site} in {month}, built by the firm of {surname}.
        In {month} visitors may enter the freshly built {site} of {town} for the first time.
        """,
        """
        The {site} on {street} has room for {count} guests.
        It has taken {count} months to build.
        The {job} {surname} will cut the ribbon.
        """,
        """
        {town} opens {site} in {month}
        New {site} for {town}
        {town} {site} ready for visitors
        """,
    ),
    "theft": _event(
        "tool surname",
        """
        Thieves broke into the house of {surname} in {town} and took nothing but a {tool}.
        A {tool} vanished overnight from the home of the {town} {job} {surname}.
        Police in {town} are looking for a {tool} that was taken from {surname}.
        """,
        """
        The {tool} is worth {count} crowns.
        A window on {street} had been left open.
        {surname} offers {count} coins for its return.
        """,
        """
        {tool} of {surname} stolen in {town}
        Thieves take {tool} from {town} house
        {town} police hunt {tool} thief
        """,
    ),
    "harvest": _event(
        "food count",
        """
        Growers around {town} have picked {count} tons of {food}, more than ever before.
        Never has {town} seen so much {food}: this season brought {count} tons.
        No less than {count} tons of {food} came from the fields of {town}.
        """,
        """
        The {job} {surname} thanks the warm {month}.
        Prices on {street} have halved.
        Much of it will be turned into soup.
        """,
        """
        Record {food} harvest in {town}
        {town} brings in {count} tons of {food}
        More {food} than ever in {town}
        """,
    ),
    "election": _event(
        "surname job",
        """
        Voters in {town} have elected {surname}, a former {job}, as mayor by {count} votes.
        With {count} votes to spare, {surname}, who used to be a {job}, will be mayor of {town}.
        By a margin of only {count} votes, the {job} {surname} takes over as mayor of {town}.
        """,
        """
        {surname} promised a {site} for every quarter.
        The loser, a {job}, sent {food} to the winner.
        The count lasted until past midnight.
        """,
        """
        {surname} is mayor of {town}
        Former {job} to lead {town}
        {town} elects {surname} by {count} votes
        """,
    ),
    "find": _event(
        "tool site",
        """
        While digging near the {site} in {town}, a {job} struck a {tool} of great age.
        A {tool} thought to be {count} centuries old lay buried under the {site} of {town}.
        Under a {site} in {town} workers came across an old {tool} last {month}.
        """,
        """
        Professor {surname} called the {tool} a small miracle.
        Digging goes on until {month}.
        It was lying beside {count} shells.
        """,
        """
        Ancient {tool} found under {town} {site}
        {town} {site} hides old {tool}
        {tool} dug up near {site} in {town}
        """,
    ),
    "ban": _event(
        "animal street",
        """
        From {month} on nobody may take a {animal} along {street} in {town}.
        {town} has forbidden every {animal} on {street} after {count} complaints.
        The council of {town} voted to keep each {animal} away from {street}.
        """,
        """
        Whoever breaks the rule pays {count} coins.
        {surname}, a {job}, says the {animal} has rights too.
        The rule does not hold on Sundays.
        """,
        """
        {town} bans {animal} from {street}
        No {animal} on {street}, says {town}
        {street} in {town} becomes free of {animal}
        """,
    ),
    "race": _event(
        "surname count",
        """
        {surname}, a {job} by trade, was first in the {town} run after {count} minutes.
        It took {surname} just {count} minutes to win the run through {town}.
        The run around the {town} {site} ended after {count} minutes with a win for {surname}.
        """,
        """
        A {animal} blocked the road at {street}.
        {surname} trained since {month} and ate only {food}.
        Second place went to a {job} from abroad.
        """,
        """
        {surname} takes {town} run
        {surname} first in {town} after {count} minutes
        {surname} wins run through {town}
        """,
    ),
}
ASIDES = compiled("""
    The mayor of {town} was not at home for comment.
    Neighbours from {street} cheered.
    A party with {food} and music followed.
    Nobody in {town} can remember anything like it.
    The {town} council meets again in {month}.
    Local schools want to write about it.
    Some people on {street} doubt the story.
    A {job} is making a film of it.
""")
