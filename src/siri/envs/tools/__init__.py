"""A world of tools, made for siri: a calculator, units and a table; answers that can be checked."""

from siri.envs.tools.calculator import UNITS, calculate, convert
from siri.envs.tools.calls import FAMILIES, Call, Tool, family_of, find_call, write_call
from siri.envs.tools.env import ToolWorld
from siri.envs.tools.prompts import TOOLS, CallPrompter
from siri.envs.tools.questions import KINDS, MULTI_HOP, Question, make_question
from siri.envs.tools.suite import ToolExpert, tools_suite

__all__ = [
    "FAMILIES",
    "KINDS",
    "MULTI_HOP",
    "TOOLS",
    "UNITS",
    "Call",
    "CallPrompter",
    "Question",
    "Tool",
    "ToolExpert",
    "ToolWorld",
    "calculate",
    "convert",
    "family_of",
    "find_call",
    "make_question",
    "tools_suite",
    "write_call",
]
