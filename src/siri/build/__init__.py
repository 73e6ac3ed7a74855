"""Making the parts of a run by name and configuration, for Python, the command line and the study.

Name your own suite, miner, validator or objective as ``siri.plugins`` describes.
"""

from siri.build.losses import objective
from siri.build.policies import check_engine, check_trains, policy, usual_preset
from siri.build.runs import OWN, method_parts, run
from siri.build.skills import miner, retriever, shown_skills, validator
from siri.build.worlds import check_laws, check_splits, fit_splits, suite

__all__ = [
    "OWN",
    "check_engine",
    "check_laws",
    "check_splits",
    "check_trains",
    "fit_splits",
    "method_parts",
    "miner",
    "objective",
    "policy",
    "retriever",
    "run",
    "shown_skills",
    "suite",
    "usual_preset",
    "validator",
]
