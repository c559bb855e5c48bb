"""Nouns by category, with their plurals."""

ANIMALS = """
ant badger bat bear beaver bee beetle bird buffalo butterfly camel cat cow crab crane cricket crow deer dog dolphin
donkey dove dragonfly duck eagle eel elephant falcon ferret finch fox frog gecko giraffe goat goose gull hamster hare
hawk hedgehog heron hippo horse hound jackal jay kangaroo kitten koala lamb leopard lion lizard llama lobster lynx
magpie mole monkey moth mule newt octopus ostrich otter owl panda panther parrot peacock pelican penguin pheasant pig
pigeon pony puffin puppy rabbit raccoon rat raven robin rooster salmon seal shark snail snake sparrow spider squirrel
stork swan swallow tiger toad tortoise trout turkey turtle vulture walrus wasp weasel whale wolf wombat woodpecker
worm wren yak zebra
""".split()
TOOLS = """
anvil axe basket bell bellows blanket bolt bottle bowl box broom brush bucket button camera candle cane cart chain
chest chisel clock coat coin comb compass cord cradle cup curtain dish doll drawer drill drum envelope fan file flag
flask flute fork frame funnel glove glass guitar hammer handle harp hat helmet hinge hook hose jar jug kettle key kite
knife ladder lamp lantern lens letter lever lid lock loom map mask mat mirror mop nail napkin necklace needle net
notebook oar oven paddle pan parcel pen pencil piano picture pillow pin pipe plate plough pot pulley pump purse quilt
rake ribbon ring rope rug ruler sack saddle sail saw scale scarf scissor screw shawl sheet shelf shoe shovel sickle
sieve sled spade spindle spoon stamp stool stove string suitcase sweater sword table tablet teapot telescope tent
thimble thread ticket tool torch towel toy tray trumpet trunk umbrella vase violin wagon wallet watch wheel whistle
wire wrench
""".split()
FURNITURE = """
armchair bed bench bookcase cabinet chair cupboard desk dresser lamp mirror rug shelf sofa stool table wardrobe
""".split()
MATERIALS = """
brass brick bronze canvas cedar clay concrete copper cotton felt flint glass gold granite iron ivory leather limestone
linen marble oak paper pine plaster porcelain sandstone satin silk silver slate steel stone straw thatch timber tin
velvet wax wicker willow wood wool zinc
""".split()
SITES = """
abbey alley arcade attic avenue bakery bank barn barracks bay beach boathouse bookshop border bridge brewery cabin
canal cape castle cathedral cave cellar cemetery chapel church cinema cliff clinic coast college cottage courtyard
creek crossing dairy dam desert dock factory farm fence field ford forest forge fort fountain gallery garage garden
gate glacier gorge greenhouse grove gym hall hamlet harbour hill hospital hotel hut inn island jetty kiosk kitchen
laboratory lagoon lake lane laundry library lighthouse lodge lookout mansion market marsh meadow mill mine monastery
monument moor mosque mountain museum nursery observatory office orchard palace park pasture path pavilion pier plain
playground plaza pond port prison quarry quay ranch reef reservoir ridge river road school shed shop shore shrine
square stable stadium stage station stream studio summit swamp temple tent terrace theatre tower town trail tunnel
valley village vineyard wall warehouse waterfall well wharf windmill wood workshop yard zoo
""".split()
JOBS = """
accountant acrobat actor admiral architect artist astronomer author baker banker barber beekeeper blacksmith botanist
brewer bricklayer builder butcher captain carpenter cashier chemist clerk coach cobbler composer cook curator dancer
dentist designer detective diver doctor driver editor electrician engineer explorer farmer fiddler firefighter
fisherman florist gardener geologist glassblower goldsmith governor grocer guard guide hatter historian hunter
inspector inventor janitor jeweller journalist judge juggler keeper lawyer lecturer librarian locksmith magician mason
mayor mechanic merchant midwife miller miner minister musician nurse officer painter pharmacist photographer pianist
pilot plumber poet porter postman potter printer professor publisher ranger reporter sailor scholar scientist sculptor
secretary senator shepherd shopkeeper singer soldier surgeon surveyor tailor tanner teacher trader translator tutor
violinist waiter watchmaker weaver welder writer zoologist
""".split()
PLANTS = """
acorn ash aspen bamboo beech birch bluebell bramble bush buttercup cactus cedar chestnut clover cypress daffodil daisy
dandelion elder elm fern fir flower foxglove grass hawthorn hazel heather hedge holly hyacinth iris ivy jasmine larch
lavender lilac lily lupin magnolia maple marigold moss myrtle nettle oak orchid palm pansy pine poplar poppy primrose
reed rose rowan sage seed shrub snowdrop spruce sunflower sycamore thistle tulip vine violet willow yew
""".split()
ABSTRACT = """
advice agreement ambition anger answer argument attempt beauty belief bravery business calm care chance change charity
choice comfort confidence courage craft culture curiosity custom danger debate debt delay delight doubt dream duty
effort energy error evidence example excuse experience fact failure faith fame fear festival fortune freedom
friendship fun future gift grief habit harmony health history honesty honour hope humour idea illness insight interest
joy journey judgement justice kindness knowledge labour language law laughter lesson luck magic memory mercy mistake
mood music mystery need news noise opinion order pain patience peace plan pleasure poem power practice praise pride
problem profit promise proof proposal question reason relief respect reward rhythm risk rule rumour safety sadness
science secret sense shame silence skill sleep smell song sorrow speech speed spirit story strength stress success
surprise talent task taste theory thought time tradition trouble trust truth victory virtue wealth weather wisdom wish
wonder work worry youth
""".split()
BODY = """
arm ankle back beard cheek chin ear elbow eye face finger foot forehead hair hand head knee leg lip neck nose palm
shoulder thumb toe wrist
""".split()
VEHICLES = """
barge bicycle boat bus canoe car caravan carriage coach ferry kayak lorry plane raft rocket ship sledge taxi tractor
train tram truck van yacht
""".split()
CLOTHES = """
apron belt blouse bonnet boot cap cape cardigan cloak coat collar dress glove gown hat hood jacket jumper scarf shawl
shirt shoe skirt sock suit tunic vest waistcoat
""".split()
SUBJECTS = """
algebra anatomy archery astronomy ballet biology botany carpentry chemistry chess cookery dance drama drawing
economics engineering fishing geography geology geometry grammar history knitting law literature logic mathematics
medicine music painting philosophy photography physics poetry politics pottery printing sculpture singing statistics
swimming weaving
""".split()
COLOURS = """
amber beige black blue bronze brown cream crimson gold green grey ivory lilac navy olive orange pink plum purple red
scarlet silver tan teal turquoise violet white yellow
""".split()
WEATHER = """
blizzard breeze cloud drizzle drought dust fog frost gale hail haze heat ice lightning mist rain shower sleet snow
storm sunshine thunder wind
""".split()
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
SEASONS = "spring summer autumn winter".split()
BOOK_SORTS = """
novel diary atlas memoir play ballad cookbook history thriller romance biography travelogue comedy mystery guidebook
textbook
""".split()
GROUPS = """
band choir club committee company council crew crowd family gang group guild jury league orchestra panel party society
team troupe union
""".split()

_IRREGULAR = {
    "wolf": "wolves",
    "shelf": "shelves",
    "knife": "knives",
    "leaf": "leaves",
    "foot": "feet",
    "goose": "geese",
    "sheep": "sheep",
    "deer": "deer",
    "salmon": "salmon",
    "trout": "trout",
    "postman": "postmen",
    "fish": "fish",
    "fisherman": "fishermen",
    "scarf": "scarves",
    "buffalo": "buffalo",
    "hippo": "hippos",
    "piano": "pianos",
    "kangaroo": "kangaroos",
    "half": "halves",
    "life": "lives",
    "child": "children",
    "loaf": "loaves",
    "bellows": "bellows",
}


def plural(noun: str) -> str:
    """The plural of a noun in this file."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    if noun.endswith(("s", "x", "ch", "sh", "mango", "potato", "tomato")):
        return f"{noun}es"
    return f"{noun}s"
