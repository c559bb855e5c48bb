"""Words about eating: cuisines with their dishes, kinds of eatery, ingredients, and what eateries are called."""

DISHES_BY_CUISINE = {
    "Thai": ("green curry", "prawn noodles", "coconut soup"),
    "Greek": ("grilled octopus", "lamb stew", "spinach pie"),
    "Polish": ("potato dumplings", "beetroot soup", "cabbage rolls"),
    "Persian": ("saffron rice", "walnut stew", "barley soup"),
    "Mexican": ("corn tamales", "bean tostadas", "chilli stew"),
    "Korean": ("kimchi pancakes", "rice bowls", "barbecued ribs"),
    "Turkish": ("lamb skewers", "stuffed peppers", "lentil soup"),
    "Lebanese": ("chickpea fritters", "aubergine dip", "flatbread"),
    "Ethiopian": ("lentil stew", "sour pancakes", "spiced lamb"),
    "Peruvian": ("marinated fish", "grilled corn", "potato cakes"),
    "Vietnamese": ("beef noodle soup", "spring rolls", "lemongrass chicken"),
    "Spanish": ("seafood rice", "garlic prawns", "almond cake"),
    "Hungarian": ("goulash", "paprika chicken", "cherry strudel"),
    "Moroccan": ("date tagine", "lemon chicken", "honey pastries"),
    "Portuguese": ("salt cod", "custard tarts", "grilled sardines"),
    "Georgian": ("cheese bread", "walnut salad", "plum stew"),
    "Malaysian": ("peanut satay", "coconut rice", "fish curry"),
    "Swedish": ("meatballs", "pickled herring", "cinnamon buns"),
    "Cuban": ("black beans", "roast pork", "fried plantain"),
    "Nepalese": ("steamed dumplings", "mustard greens", "goat curry"),
}
CUISINES = tuple(DISHES_BY_CUISINE)
DISHES = tuple(sorted({dish for dishes in DISHES_BY_CUISINE.values() for dish in dishes}))

KINDS = ("bistro", "cafe", "tavern", "diner", "canteen", "brasserie", "tea room", "wine bar")
PRICES = ("low", "moderate", "high")

INGREDIENTS = """
almond anchovy apple apricot artichoke asparagus aubergine bacon banana barley basil bean beef beetroot blackberry
bread broccoli butter cabbage caper cardamom carrot cauliflower celery cheese cherry chestnut chicken chickpea chilli
chive cinnamon clove coconut coriander corn courgette crab cranberry cream cucumber cumin currant custard date dill
duck egg fennel fig fish garlic ginger goose grape grapefruit ham hazelnut herring honey horseradish kale lamb leek
lemon lentil lettuce lime lobster mackerel mango marjoram melon mint mushroom mussel mustard nettle noodle nutmeg oat
olive onion orange oregano oyster paprika parsley parsnip pasta peach peanut pear pea pepper pickle pineapple
pistachio plum pork potato prawn pumpkin quince radish raisin raspberry rhubarb rice rosemary saffron sage salmon salt
sardine sausage sesame shallot spinach squash strawberry sugar tarragon thyme tomato trout tuna turmeric turnip
vanilla veal vinegar walnut watercress wheat yoghurt
""".split()

DRINKS = """
tea coffee water milk juice lemonade cider beer wine cocoa broth buttermilk cordial sherry punch ale mead soda
espresso
""".split()

NAME_ADJECTIVES = """
Copper Silver Golden Crooked Hungry Quiet Wandering Lucky Velvet Rusty Laughing Salty Painted Hidden Merry Wooden
Sleepy Crimson Amber Humble Grand Little Old Broken Dancing Thirsty Winter Summer Midnight Morning Blue Green Scarlet
Ivory Singing Iron Marble Honest Jolly Royal Rustic Smoky Spotted Sunny Tiny Twisted White Wild Brass Patient
""".split()
NAME_NOUNS = """
Kettle Ladle Anchor Lantern Fox Heron Barrel Spoon Pepper Olive Fig Pheasant Otter Compass Chimney Teapot Walnut
Lobster Pelican Garden Hearth Skillet Basket Bell Badger Cellar Clove Crane Dove Falcon Fiddle Goose Hare Juniper
Lemon Magpie Mirror Orchard Parrot Pear Pigeon Plum Quince Rooster Saddle Sparrow Swan Table Thistle Tiger Turnip
Wheel Willow Wren
""".split()
NAME_ROOMS = """
Kitchen Table Corner Place Larder Pantry Oven Counter House Terrace Dining Cookhouse Stove Grill Bakehouse
""".split()
