"""Doors: where a user's object becomes a complete part of a run, once.

An object that has the full form of its protocol comes through as it is; one that has the small form comes
out in a wrapper that adds what is missing. Every other room works with full forms, so this is the only one,
next to ``siri.testing``, that asks an object what it can do. Its code is called in one place too, where its
answers are checked.
"""

from siri.doors.calls import (
    begun,
    benefit,
    bound,
    closed,
    generated,
    judged,
    mined,
    parsed,
    probed,
    prompted,
    reported,
    screened,
    selected,
    taken_back,
    told,
    valued,
    written,
)
from siri.doors.complete import (
    adviser,
    answering,
    encoder,
    faults,
    judge,
    kept,
    lacks,
    miner,
    objective,
    policy,
    seat,
    seat_of,
    stateful,
    tools_of,
)
from siri.doors.names import name_of
from siri.doors.tolerance import Tolerance

__all__ = [
    "Tolerance",
    "adviser",
    "answering",
    "begun",
    "benefit",
    "bound",
    "closed",
    "encoder",
    "faults",
    "generated",
    "judge",
    "judged",
    "kept",
    "lacks",
    "mined",
    "miner",
    "name_of",
    "objective",
    "parsed",
    "policy",
    "probed",
    "prompted",
    "reported",
    "screened",
    "seat",
    "seat_of",
    "selected",
    "stateful",
    "taken_back",
    "told",
    "tools_of",
    "valued",
    "written",
]
