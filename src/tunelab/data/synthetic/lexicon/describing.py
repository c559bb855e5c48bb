"""Adjectives, adverbs and small words of time, number and place."""

PEOPLE_ADJECTIVES = """
able absent active afraid alert ambitious amiable angry anxious awkward bashful blunt bold bored brave bright busy
calm careful careless cautious charming cheerful clever clumsy confident courteous crafty cruel curious daring devoted
diligent dutiful eager earnest elderly elegant energetic famous fearless fierce foolish forgetful frank friendly
frugal funny gallant generous gentle gifted gloomy graceful grateful greedy grumpy happy hasty healthy helpful honest
hopeful humble hungry idle impatient innocent jealous jolly joyful keen kind lazy lonely loud loyal lucky mature mean
merry mild modest moody nervous nimble noble obedient odd patient playful polite poor popular proud prudent puzzled
quarrelsome quick quiet reckless reliable restless rich rude sad selfish sensible serious severe shy silent silly
sincere sleepy sly smart sober solemn stern strict strong stubborn sturdy sullen surprised talented talkative tall
tender thirsty thoughtful timid tired tough trusty upset vain vigilant weak weary wicked wise witty worried young
zealous
""".split()
THING_ADJECTIVES = """
ancient antique bare battered beautiful bent big blank blunt brief brittle broad broken bulky cheap chipped clean
clear clumsy coarse cold colourful common compact complete cool costly cracked crisp crooked crude damaged damp dark
dear deep delicate dense dirty double dry dull dusty elaborate empty enormous even exact exotic expensive faded faint
familiar fancy fine firm flat flimsy fragile fresh full gigantic glossy golden good graceful grand great handsome
handy hard heavy hidden hollow huge humid icy immense large light little local long loose lovely low massive mended
modern moist muddy narrow neat new noisy old ordinary ornate oval painted pale perfect plain pleasant polished
precious pretty pure quaint rare rough round rounded rusty scarce shabby shallow sharp shiny short simple single sleek
slender slim slow small smooth soft solid sour spare special spotless square stale steep sticky stiff straight strange
sturdy sweet swift tall tattered thick thin tidy tight tiny transparent twisted ugly unusual upright useful usual
valuable vast warm wet wide wild wooden worn yellowed
""".split()
PLACE_ADJECTIVES = """
abandoned bustling charming coastal cosy crowded deserted distant draughty dusty fashionable fertile flooded foggy
frozen grassy green haunted hilly historic industrial leafy lively lonely misty mountainous muddy narrow noisy old
overgrown peaceful picturesque prosperous quiet remote rocky ruined rural sandy secluded shady sheltered sleepy snowy
sunny swampy thriving tidy tranquil walled wealthy wild windy wooded
""".split()
MANNER = """
abruptly accidentally angrily anxiously awkwardly badly bitterly blindly boldly bravely briefly briskly calmly
carefully carelessly cautiously cheerfully cleverly closely coldly curiously deliberately dutifully eagerly easily
faithfully fiercely firmly fondly foolishly freely gently gladly gracefully gratefully greedily happily hastily
heavily helpfully honestly hungrily innocently joyfully kindly lazily lightly loudly merrily neatly nervously noisily
openly patiently playfully politely promptly proudly quickly quietly rapidly reluctantly roughly rudely sadly safely
seriously sharply shyly silently skilfully slowly smoothly softly solemnly steadily sternly stiffly strangely suddenly
swiftly tenderly thoughtfully tightly warmly wearily wildly wisely
""".split()
FREQUENCY = """
always often usually sometimes seldom rarely never frequently generally mostly occasionally hardly
""".split()
DEGREE = """
very quite rather fairly really too so extremely unusually slightly somewhat truly remarkably perfectly
""".split()
FEELINGS = """
amusement alarm anger annoyance anxiety awe boredom confusion contempt curiosity delight despair disbelief dismay
embarrassment envy excitement fright fury gratitude grief guilt horror impatience joy loneliness panic pity pleasure
pride regret relief sorrow surprise suspicion sympathy terror wonder
""".split()
TIMES = (
    "at dawn",
    "at dusk",
    "at noon",
    "at midnight",
    "before breakfast",
    "after lunch",
    "after supper",
    "in the evening",
    "in the morning",
    "late at night",
    "early one morning",
    "one afternoon",
    "before sunrise",
    "all day long",
    "every week",
    "last year",
    "last month",
    "this week",
    "long ago",
    "a few days later",
    "the next day",
    "the following week",
    "at once",
    "at first",
    "in the end",
    "some time ago",
    "years later",
    "during the holidays",
    "on market day",
    "on the last day",
)
PLACES = (
    "behind the house",
    "under the bridge",
    "beside the road",
    "across the river",
    "near the gate",
    "above the door",
    "below the cliff",
    "beyond the hills",
    "between the trees",
    "around the corner",
    "inside the barn",
    "outside the walls",
    "along the shore",
    "through the forest",
    "over the fence",
    "at the edge of the field",
    "on top of the hill",
    "at the bottom of the well",
    "in the middle of the square",
    "at the end of the lane",
    "by the fire",
    "next to the window",
    "far from home",
    "close to the border",
    "opposite the church",
    "on the left bank",
    "on the north side",
    "upstairs",
    "downstairs",
    "at home",
    "abroad",
    "in the next room",
    "towards the south",
    "among the ruins",
    "at sea",
)
NUMBER_WORDS = """
one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty
""".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
OPPOSITES = dict(
    pair.split("-")
    for pair in """
    hot-cold big-small tall-short long-brief fast-slow early-late light-dark full-empty rich-poor loud-quiet
    hard-soft wet-dry happy-sad young-old strong-weak near-far open-closed high-low thick-thin wide-narrow
    sweet-sour clean-dirty deep-shallow sharp-blunt heavy-weightless smooth-rough brave-cowardly polite-rude
    generous-greedy safe-dangerous cheap-expensive simple-complicated public-private ancient-modern true-false
    left-right north-south day-night begin-end win-lose buy-sell arrive-depart push-pull give-take rise-fall
    remember-forget accept-refuse love-hate laugh-cry lend-borrow build-destroy
    """.split()
)
