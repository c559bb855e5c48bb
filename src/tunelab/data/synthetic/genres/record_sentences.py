"""Sentence templates for each kind of record. A hole named like a slot of the kind says that slot.

Every slot needs at least one sentence with the title and one without that say nothing else, so that prose always ends.
"""

from tunelab.data.synthetic.templates import compiled

SENTENCES = {
    "eatery": compiled("""
        {title} calls itself a {type}.
        {title} cooks in the {food} manner.
        People come to {title} for the {speciality}.
        The bill at {title} is {cost}.
        Critics gave {title} {stars} stars.
        The guidebook places {title} in the part of town known as {district}.
        {title} has {beside} for a neighbour.
        Children at {title}: {kids}.
        {title} belongs to {owner}.
        There is room for {seats} guests inside {title}.
        In the {district} stands the {type} {title}, run by {owner}.
        {title} brings {food} cooking to the {district}.
        Anyone who craves {speciality} should book at {title} near {beside}.
        The {type} {title} shares its street with {beside}.
        With {stars} stars, {title} is the talk of the {district}.
        Its owner {owner} opened {title} as a {type} with {seats} chairs.
        Locals describe {title} as {food} in taste and {cost} in cost.
        The sign above the door reads {title}, and the {type} behind it is {food}.
        Ask for {speciality} when visiting {title}, the {type} beside {beside}.
        We ate at {title}, which critics award {stars} stars, and the cost was {cost}.
        My cousin recommends {title} for {food} cooking and above all for {speciality}.
        One would call it a {type}.
        The menu follows {food} recipes.
        Most guests order the {speciality}.
        Expect a {cost} bill.
        Reviewers awarded {stars} stars.
        The address is in the {district}.
        From the window one sees {beside}.
        May children come along? The answer is {kids}.
        The owner, {owner}, cooks every day.
        Inside there are {seats} seats.
        The owner is called {owner} and the cost is {cost}.
        A {food} cook named {owner} runs the kitchen.
        Visitors praise the {speciality} and give it {stars} stars.
        Walk past {beside} into the {district} to find it.
        Chairs for {seats} people fill a room near {beside}.
        As a {type} it has a {cost} cost.
        The cost of {speciality} here is {cost}.
        Bring the kids? {kids}, says {owner}.
    """),
    "person": compiled("""
        {full_name} works as a {job}.
        {full_name} was born in {born}.
        {full_name} comes from {home}.
        As a student {full_name} chose {studied}.
        Friends call {full_name} {nature}.
        {full_name} keeps a {pet}.
        {full_name} enjoys {hobby}.
        The favourite meal of {full_name} is {likes}.
        {full_name}, a {nature} {job}, grew up in {home}.
        Born in {born}, {full_name} became a {job}.
        After lessons in {studied}, {full_name} found work as a {job} in {home}.
        {full_name} shares a house in {home} with a {pet}.
        A taste for {likes} and for {hobby} is typical of {full_name}.
        Everybody in {home} knows {full_name}, the {nature} {job} with the {pet}.
        The daily work is that of a {job}.
        The year of birth is {born}.
        Home has always been {home}.
        At college the subject was {studied}.
        By nature this is a {nature} person.
        A {pet} waits at home.
        Spare hours are spent {hobby}.
        Nothing tastes better than {likes}.
        Evenings pass with {hobby} and plates of {likes}.
        The {pet} is just as {nature}.
        Neighbours in {home} admire the {nature} manner.
        Life as a {job} began after a course in {studied}.
    """),
    "town": compiled("""
        {town} lies on the {river}.
        {town} was founded in {founded}.
        About {people} people live in {town}.
        The pride of {town} is its {sight}.
        Travellers find {town} {character}.
        {town} grew rich from {trade}.
        Every {market} there is a market in {town}.
        The mayor of {town} is {mayor}.
        {town} is a {character} town on the river {river}.
        Founded in {founded}, {town} has {people} inhabitants.
        {mayor}, mayor of {town}, likes to show guests the {sight}.
        Boats on the {river} carry {trade} to {town}.
        {character} and small, {town} counts {people} residents.
        The river is called {river}.
        Its history begins in {founded}.
        The last count found {people} people.
        Tourists visit the {sight}.
        The streets are {character}.
        The main trade is in {trade}.
        Market day is {market}.
        {mayor} serves as mayor.
        Since {founded} merchants have sold {trade} here.
        Mayor {mayor} opens the market each {market}.
        A {character} path follows the {river} to the {sight}.
        The {sight} was built in {founded} and draws crowds on {market}.
    """),
    "shop": compiled("""
        {shop} has its door on {street}.
        {shop} sells {goods}.
        {shop} was opened in {opened}.
        {shop} is shut on {closed}.
        {shop} employs {staff} people.
        The walls of {shop} are painted {colour}.
        Since {opened}, {shop} has sold {goods} on {street}.
        On {street} you can buy {goods} from {shop}.
        {staff} assistants in {colour} aprons work for {shop}.
        The street is {street}.
        Customers come for {goods}.
        The first day of business was in {opened}.
        Nobody works there on {closed}.
        The staff numbers {staff}.
        The front is {colour}.
        Behind the {colour} front lie shelves full of {goods}.
        Apart from {closed}, the {staff} clerks are busy.
        The house on {street} dates from {opened}.
    """),
    "book": compiled("""
        {book} was written by {author}.
        {book} can be called a {sort}.
        {book} appeared in {year}.
        {book} has {pages} pages.
        The hero of {book} is a {hero}.
        {book} deals with {theme}.
        The cover of {book} is {cover}.
        In {year} {author} published {book}.
        {book} is the {sort} in which {author} writes about {theme}.
        Over {pages} pages, {book} tells of a {hero} and of {theme}.
        The author is {author}.
        Libraries file it as a {sort}.
        It came out in {year}.
        It runs to {pages} pages.
        A {hero} plays the main part.
        Its theme is {theme}.
        It is bound in {cover}.
        The {sort} follows a {hero} in search of {theme}.
        Its {pages} pages lie between {cover} covers.
        Readers have loved the {sort} since {year}.
        {author} once met such a {hero}.
    """),
    "animal": compiled("""
        The {animal} eats {eats}.
        The {animal} lives {lives}.
        A grown {animal} weighs {weight}.
        People think the {animal} is {mood}.
        The {animal} is busiest in {active}.
        The {animal} runs away from {fears}.
        {mood} and quick, the {animal} hunts for {eats} {lives}.
        During {active} the {animal} is out looking for {eats}.
        No {animal} of {weight} should be afraid of {fears}.
        Its food is {eats}.
        Its den is {lives}.
        Its weight is {weight}.
        Its temper is {mood}.
        Its season is {active}.
        Its enemies are {fears}.
        Because of {fears} it hides {lives}.
        When {active} comes it turns {mood} and digs for {eats}.
    """),
    "thing": compiled("""
        The {item} is made of {made_of}.
        The {item} is {colour}.
        The {item} costs {price}.
        The {item} was made by {maker}.
        The {item} was found {found}.
        The {item} is {age} old.
        For {price} you may have the {item}, a work of {maker} in {made_of}.
        Somebody left the {colour} {item} {found}.
        After {age} the {item} by {maker} is still in use.
        The material is {made_of}.
        The paint is {colour}.
        The seller wants {price}.
        The maker signed it {maker}.
        It turned up {found}.
        Its age is {age}.
        {maker} cut it from {made_of}.
        It lay {found} for {age}.
        The {colour} finish raised the price to {price}.
    """),
    "journey": compiled("""
        Train {train} starts from {from}.
        Train {train} goes to {to}.
        Train {train} leaves at {leaves}.
        Train {train} needs {takes}.
        Train {train} waits at platform {platform}.
        Train {train} runs on {day}.
        The driver of train {train} is {driver}.
        At {leaves} train {train} departs from {from} for {to}.
        On {day} train {train} carries passengers to {to} in {takes}.
        Passengers for {to} board train {train} at platform {platform}.
        The first stop is {from}.
        The last stop is {to}.
        Departure is at {leaves}.
        The ride takes {takes}.
        The platform is number {platform}.
        It runs every {day}.
        Its driver is called {driver}.
        From {from} to {to} it takes {takes}.
        On {day} {driver} is at the controls.
        Be at platform {platform} before {leaves}.
    """),
    "event": compiled("""
        The {event} is held in {month}.
        The {event} takes place by {place}.
        {guests} visitors are expected at the {event}.
        Cooks at the {event} prepare {food}.
        A {music} plays at the {event}.
        A ticket for the {event} costs {ticket}.
        {leader} is in charge of the {event}.
        In {month} the {event} fills the ground around {place}.
        {leader} invited a {music} and {guests} guests to the {event}.
        For {ticket} visitors of the {event} hear a {music} and eat {food}.
        The month is {month}.
        The tents stand by {place}.
        Some {guests} people will come.
        There will be {food} to eat.
        The music comes from a {music}.
        The entrance fee is {ticket}.
        It is directed by {leader}.
        Last {month} some {guests} people came.
        {leader} serves {food} in person.
        Near {place} a {music} plays until midnight.
        Children pay less than {ticket}.
    """),
}
