"""Names of people, towns, streets, areas and landmarks."""

WOMEN = """
Ada Agnes Alice Amara Anna Astrid Beatrice Bella Bridget Carla Carmen Celia Clara Daphne Diana Dora Edith Elena Elsa
Emma Esther Eva Fatima Flora Frida Gina Grace Greta Hana Hannah Harriet Hazel Helen Ida Imani Ingrid Irene Isla Ivy
Jane Joan Julia Kamala Karin Katya Kira Laila Laura Leila Lena Lily Lotte Lucy Mabel Maria Marta Mary Maya Mei Mila
Mina Mira Miriam Nadia Naomi Nina Noor Nora Olga Olive Paula Petra Priya Rana Rita Rosa Rose Ruth Sally Sara Selma
Sofia Sonia Stella Susan Sylvia Tara Thea Tilda Una Vera Viola Wanda Yara Yasmin Yuki Zara Zelda
""".split()
MEN = """
Abel Adam Ahmed Albert Alfred Amir Andrei Anton Arthur Axel Basil Ben Bruno Carlos Cedric Chen Daniel David Diego
Dmitri Edgar Edwin Emil Enzo Erik Ernest Felix Finn Frank Fred George Gregor Gustav Hamid Harold Hassan Henry Hugo
Ibrahim Igor Ivan Jack Jacob Jamal James Jan Joel John Jonas Joseph Juan Karl Kenji Kofi Lars Leo Leon Louis Lucas
Luis Marco Mark Martin Max Milan Mohan Nathan Niels Noah Oleg Oliver Omar Oscar Otto Pablo Paul Pedro Peter Rafael
Rahul Ralph Ravi Robert Roman Rufus Samir Samuel Simon Stefan Tariq Theo Thomas Tomas Victor Viktor Walter Wei William
Yusuf Zoltan
""".split()
SURNAMES = """
Abbott Adler Akande Alvarez Archer Baker Banerjee Barlow Becker Bell Bennett Bishop Blum Brandt Brook Burns Calder
Carver Castro Cho Clarke Cole Cooper Costa Cross Dalton Diaz Drake Duarte Eklund Ellis Farmer Fenwick Fisher Fletcher
Flores Foster Fraser Gallo Garner Gibson Grant Gray Gupta Hale Hansen Harper Hart Haruki Hayes Holm Hughes Hunter
Ivanov Jensen Jovanov Kaplan Kaya Keller Kimura Klein Kovac Kruger Lang Larsen Lee Lindgren Lopez Lund Mason Mehta
Meyer Mills Morris Moreno Moss Nagy Nakata Novak Nunez Okafor Olsen Osman Park Parker Patel Pereira Petrov Pike Porter
Quinn Ramos Reed Rivera Rossi Rowe Sato Schultz Shah Shaw Silva Singh Slater Smith Stone Strand Sutton Tanaka Taylor
Thorne Turner Varga Vega Wagner Walker Ward Weaver Webb Weiss West Wolf Wood Wright Yamada Yilmaz Young Zimmer
""".split()

_TOWN_STARTS = """
Ash Birch Black Bram Brack Carl Clay Cold Dun Earl East Elm Fair Fern Glen Hart Hazel High Kings Lang Long Lyn Marsh
Mill Nether North Oak Ox Raven Red Rock Rye Salt Sand Shel Stan Stone Sun Swan Thorn Upper Wal West Whit Wind Wolf
""".split()
_TOWN_ENDS = """
bridge bury by dale field ford gate ham haven hill hurst ley mere mouth port stead ton wick worth
""".split()
TOWNS = [start + end for start in _TOWN_STARTS for end in _TOWN_ENDS]

RIVERS = """
Alder Arrow Avel Bane Calder Carrow Dove Eden Esk Fleet Greta Isel Kell Lathe Lune Marle Neath Orra Pell Rill Rook
Sable Severin Tarn Tavy Tern Ure Vale Wend Wharf Yarrow
""".split()
STREET_NAMES = """
Abbey Acorn Anchor Baker Bell Bridge Canal Castle Cedar Chapel Cherry Church College Copper Crown Dock Elm Ferry Field
Forge Garden Gate Green Hill King Lake Lime Maple Market Mill Nelson Oak Orchard Park Pine Plum Poplar Prince Queen
Rose Silver Spring Station Temple Tower Union Victoria Water Weaver Willow
""".split()
STREET_TYPES = "Street Road Lane Avenue Square Court Row Hill Walk Place".split()

AREA_PHRASES = {
    "harbour": "down at the harbour",
    "old town": "in the old town",
    "riverside": "along the riverside",
    "market square": "on the market square",
    "hillside": "up on the hillside",
    "university quarter": "in the university quarter",
    "station district": "in the station district",
    "garden suburb": "out in the garden suburb",
    "theatre row": "on theatre row",
    "seafront": "along the seafront",
}
"""Each area of the restaurant town with its preposition: the house style has exactly one for each."""
AREAS = tuple(AREA_PHRASES)

LANDMARKS_BY_SORT = {
    "water": (
        "the mill pond",
        "the ferry landing",
        "the canal lock",
        "the boating lake",
        "the fish pier",
        "the salt marsh",
    ),
    "building": (
        "the old mill",
        "the town hall",
        "the corn exchange",
        "the public library",
        "the clock tower",
        "the opera house",
        "the city museum",
    ),
    "green": ("the rose garden", "the botanical garden", "the village green", "the deer park", "the apple orchard"),
    "transport": ("the central station", "the bus depot", "the tram stop", "the ring road", "the airport terminal"),
}
SORT_OF_LANDMARK = {mark: sort for sort, marks in LANDMARKS_BY_SORT.items() for mark in marks}
LANDMARKS = tuple(SORT_OF_LANDMARK)
