"""Tables of the embedded policy's household worlds: rooms, homes of objects, goals, and what is held out.

No skill and no summary of the training data ever pairs heat with a microwave, cool with a fridge or clean
with a sink basin. ``check_held_out`` enforces it for every text.
"""

from __future__ import annotations

import re

HELD_OUT = frozenset({("heat", "microwave"), ("cool", "fridge"), ("clean", "sinkbasin")})
"""(verb, station) pairs that no skill text of the training data contains."""

PICK, LOOK, CLEAN, HEAT, COOL, TWO = KINDS = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
VERBS = {CLEAN: "clean", HEAT: "heat", COOL: "cool"}
TRUE_STATIONS = {"heat": "microwave", "cool": "fridge", "clean": "sinkbasin"}
HABITS = {"heat": "stoveburner", "cool": "sinkbasin", "clean": "countertop"}
"""Wrong stations of the base whose plain success is rare."""
OPENABLE = frozenset({"cabinet", "drawer", "fridge", "microwave", "safe"})
SPLIT = "train"

# Room -> receptacle class: (least, most) in a small room, most in a large one.
ROOMS: dict[str, dict[str, tuple[int, int, int]]] = {
    "kitchen": {
        "cabinet": (1, 4, 20),
        "coffeemachine": (1, 1, 1),
        "countertop": (1, 2, 3),
        "diningtable": (0, 1, 2),
        "drawer": (0, 3, 12),
        "fridge": (1, 1, 1),
        "garbagecan": (1, 1, 1),
        "microwave": (1, 1, 1),
        "shelf": (0, 2, 4),
        "sidetable": (0, 1, 1),
        "sinkbasin": (1, 1, 1),
        "stoveburner": (1, 4, 4),
        "toaster": (1, 1, 1),
    },
    "livingroom": {
        "armchair": (0, 2, 2),
        "cabinet": (0, 2, 6),
        "coffeetable": (0, 1, 2),
        "desk": (0, 1, 1),
        "diningtable": (0, 1, 1),
        "drawer": (0, 3, 10),
        "dresser": (0, 1, 1),
        "garbagecan": (1, 1, 1),
        "ottoman": (0, 1, 1),
        "safe": (0, 1, 1),
        "shelf": (0, 3, 10),
        "sidetable": (1, 2, 3),
        "sofa": (1, 1, 2),
        "tvstand": (0, 1, 1),
    },
    "bedroom": {
        "armchair": (0, 1, 1),
        "bed": (1, 1, 1),
        "desk": (1, 1, 2),
        "drawer": (1, 4, 10),
        "dresser": (0, 1, 1),
        "garbagecan": (1, 1, 1),
        "laundryhamper": (0, 1, 1),
        "safe": (0, 1, 1),
        "shelf": (0, 3, 8),
        "sidetable": (1, 2, 3),
        "sofa": (0, 1, 1),
    },
    "bathroom": {
        "bathtubbasin": (0, 1, 1),
        "cabinet": (1, 4, 8),
        "cart": (0, 1, 1),
        "countertop": (1, 1, 2),
        "drawer": (0, 2, 6),
        "garbagecan": (1, 1, 1),
        "handtowelholder": (0, 2, 2),
        "laundryhamper": (0, 1, 1),
        "shelf": (0, 2, 4),
        "sidetable": (0, 1, 1),
        "sinkbasin": (1, 2, 2),
        "toilet": (1, 1, 1),
        "toiletpaperhanger": (1, 1, 1),
        "towelholder": (0, 2, 2),
    },
}
_KITCHEN_HOMES = {
    "apple bread egg lettuce potato tomato": "countertop diningtable fridge garbagecan sinkbasin sidetable",
    "bowl cup mug plate": "cabinet countertop diningtable shelf sinkbasin coffeemachine fridge",
    "butterknife fork knife ladle spatula spoon": "countertop drawer diningtable sinkbasin",
    "kettle pan pot": "stoveburner cabinet countertop sinkbasin diningtable",
    "dishsponge cloth": "sinkbasin countertop drawer cabinet",
    "peppershaker saltshaker": "cabinet countertop drawer shelf diningtable",
    "glassbottle soapbottle winebottle spraybottle": "cabinet countertop garbagecan shelf fridge",
    "papertowelroll book creditcard statue vase houseplant": "countertop shelf diningtable sidetable",
}
_LIVING_HOMES = {
    "book laptop newspaper": "coffeetable sofa desk diningtable armchair sidetable",
    "box pillow": "sofa armchair coffeetable diningtable ottoman",
    "cellphone creditcard keychain remotecontrol watch": "coffeetable sidetable sofa drawer tvstand safe",
    "candle houseplant plate statue tissuebox vase wateringcan": "shelf sidetable dresser tvstand",
    "pen pencil": "drawer sidetable desk",
}
_BEDROOM_HOMES = {
    "alarmclock bowl mug pen pencil vase": "desk sidetable shelf dresser",
    "book cd cellphone creditcard keychain": "desk drawer shelf sidetable bed safe",
    "laptop pillow teddybear box": "bed desk armchair sofa",
    "cloth tissuebox": "laundryhamper drawer dresser shelf",
}
_BATHROOM_HOMES = {
    "candle spraybottle tissuebox": "toilet countertop shelf cabinet cart",
    "cloth": "bathtubbasin countertop cabinet laundryhamper cart",
    "handtowel": "handtowelholder",
    "towel": "towelholder",
    "soapbar soapbottle": "bathtubbasin countertop cabinet sinkbasin garbagecan shelf",
    "toiletpaper": "toilet toiletpaperhanger cabinet drawer garbagecan countertop",
    "dishsponge": "sinkbasin cabinet cart",
}


def _spread(table: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {item: tuple(homes.split()) for items, homes in table.items() for item in items.split()}


HOMES = {
    "kitchen": _spread(_KITCHEN_HOMES),
    "livingroom": _spread(_LIVING_HOMES),
    "bedroom": _spread(_BEDROOM_HOMES),
    "bathroom": _spread(_BATHROOM_HOMES),
}
_TREATABLE = {
    "heat": "apple bread cup egg mug plate potato tomato",
    "cool": "apple bowl bread cup egg lettuce mug pan plate pot potato tomato winebottle",
    "clean": (
        "apple bowl butterknife cloth cup dishsponge egg fork kettle knife ladle lettuce mug pan plate pot "
        "potato soapbar spatula spoon tomato"
    ),
}
TREATABLE = {verb: tuple(items.split()) for verb, items in _TREATABLE.items()}
GOALS = {
    PICK: ("put a {o} in {r}.", "put some {o} on {r}."),
    LOOK: ("look at {o} under the {l}.", "examine the {o} with the {l}."),
    CLEAN: ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    HEAT: ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    COOL: ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    TWO: ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}
NO_GOAL = frozenset({"handtowelholder", "towelholder", "toiletpaperhanger", "bathtubbasin", "toaster"})
_PAIR = re.compile(r"(heat|cool|clean) it with the ([a-z]+)")


def check_held_out(text: str) -> str:
    """Return ``text``; raise when it contains a held-out pair."""
    for pair in _PAIR.findall(text):
        if pair in HELD_OUT:
            raise ValueError(f"got held-out pair {pair} in {text!r}, expected none in the training data")
    return text
