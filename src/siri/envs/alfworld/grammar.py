"""What differs between ALFWorld's text grammars, read from the game file itself.

Known: data 2.1.1 (``put O in/on R``, "You arrive at loc 12."), data 2.1.2 and 0.4.x (``move O to R``,
"You arrive at R.", ``help``). Sources: the ``grammar`` text of the released games and
``alfworld/data/alfred.twl2`` of alfworld 0.4.2.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from siri.errors import GameError

__all__ = ["TASK_PREFIX", "Grammar", "read_grammar", "read_task"]

TASK_PREFIX = "Your task is to: "

_BLOCK = re.compile(r'"""(.*?)"""', re.DOTALL)
_ACTION = re.compile(r'action\s+(\w+)\s*\{\s*template\s*::\s*"([^"]*)";\s*feedback\s*::\s*"([^"]*)"')
_TASK = re.compile(r'"task"\s*:\s*\[\s*\{\s*"rhs"\s*:\s*("(?:[^"\\]|\\.)*")')
_FIX = "fix: take the games as released ('alfworld-download')"
_SYMBOLS = frozenset(';|<>{}[]#"')

# First 12 hex digits of sha256 over the canonical JSON of each rule that the engine implements.
_KNOWN_RULES = {
    "intro": "216083ba7c5c",
    "OpenObject.feedback": "1af5096c7414",
    "CloseObject.feedback": "01cf143fb27b",
    "PickupObject.feedback": "4dec34b29b1d",
    "inventory.feedback": "10a90af74fc8",
    "examineReceptacle.feedback": "5c4c29e437a7",
    "examineObject.feedback": "384fc0bd21d3",
    "toggleObject.feedback": "0e3fc274298a",
    "heatObject.feedback": "962b9db41402",
    "cleanObject.feedback": "bce25485bf56",
    "coolObject.feedback": "ac06d1cdd7c7",
    "sliceObject.feedback": "ffa03a313409",
    "look.feedback": "be96fdf33fd3",
    "look-variations": "51d6e0d6b4cf",
    "list_objects_on_the_floor": "1debc78e9c97",
    "list_appliances": "0db854d4c8d9",
    "overview(o)": "4195965f71b2",
    "overview(r)": "44373d352162",
    "list_empty": "d4ca4eae8944",
    "list_separator": "85e97985e64c",
    "list_last_separator": "2585510d29cd",
}
_KNOWN_TEMPLATES = {
    "GotoLocation": "go to [{r.name | receptacleatlocation(r:receptacle, lend:location)}]",
    "OpenObject": "open {r}",
    "CloseObject": "close {r}",
    "PickupObject": "take {o} from {r}",
    "inventory": "inventory",
    "examineReceptacle": "examine {r}",
    "examineObject": "examine {o}",
    "ToggleObject": "use {o}",
    "HeatObject": "heat {o} with {r}",
    "CleanObject": "clean {o} with {r}",
    "CoolObject": "cool {o} with {r}",
    "SliceObject": "slice {co} with {ko}",
    "look": "look",
}
_ARRIVE = {
    "You arrive at {lend.name}. #examineReceptacle.feedback#": True,
    "You arrive at {r.name}. #examineReceptacle.feedback#": False,
}
_PUT = {
    "put {o} in/on {r}": ("put {o} in/on {r}", "You put the {o.name} in/on the {r.name}."),
    "move {o} to {r}": ("move {o} to {r}", "You move the {o.name} to the {r.name}."),
}


@dataclass(frozen=True, slots=True)
class Grammar:
    """The variable part of a grammar."""

    task: str
    """The whole task sentence, as the first observation shows it."""
    arrive_at_location: bool
    """2.1.1: "You arrive at loc 12." instead of naming the receptacle."""
    put: str
    """Command to put something down: a template with ``{o}`` and ``{r}``."""
    put_feedback: str
    """Its feedback, also with ``{o}`` and ``{r}``."""
    help: str | None
    """Feedback of ``help``; None when the grammar has no such action."""


def read_task(text: str) -> str:
    """The task sentence of a grammar text.

    Raises:
        GameError: no such sentence, or it holds a symbol that TextWorld's parser would choke on.
    """
    match = _TASK.search(text)
    if match is None:
        raise GameError(
            "got a grammar without a \"task\" rule, expected one; fix: check 'grammar' in the file"
        )
    try:
        task = json.loads(match.group(1))
    except json.JSONDecodeError as error:
        raise GameError(
            f"got a task that is no JSON string ({error}); fix: check 'grammar' in the file"
        ) from None
    bad = sorted(_SYMBOLS.intersection(task))
    if bad:
        raise GameError(
            f"got grammar symbols {''.join(bad)!r} in the task {task!r}, expected plain words "
            "(TextWorld would cut it); fix: reword the task"
        )
    return str(task)


def read_grammar(text: str) -> Grammar:
    """Read the grammar and refuse one that the engine does not implement.

    Raises:
        GameError: a rule or template is missing or differs from the released ones.
    """
    rules: dict[str, object] = {}
    for block in _BLOCK.findall(text):
        try:
            rules.update(json.loads(block))
        except (ValueError, TypeError, RecursionError) as error:
            raise GameError(
                f"got a grammar block that is no JSON object ({error}), expected one; fix: check 'grammar'"
            ) from None
    actions = {name: (template, feedback) for name, template, feedback in _ACTION.findall(text)}
    for name, digest in _KNOWN_RULES.items():
        if name not in rules or rule_digest(rules[name]) != digest:
            raise GameError(
                f"got a grammar whose rule '{name}' is missing or unknown, expected that of 2.1.1-2.1.3; "
                f"{_FIX}"
            )
    for name, template in _KNOWN_TEMPLATES.items():
        if name not in actions or actions[name][0] != template:
            raise GameError(
                f"got action '{name}' missing or with an unknown template, expected {template!r}; {_FIX}"
            )
    template = actions.get("PutObject", ("", ""))[0]
    put = _PUT.get(template)
    arrive = _ARRIVE.get(_only_rhs(rules, "GotoLocation.feedback"))
    if put is None or arrive is None or _only_rhs(rules, "PutObject.feedback") != put[1]:
        raise GameError(
            f"got an unknown pair of 'go to' and {template!r} texts, expected those of data 2.1.1-2.1.3; "
            f"{_FIX}"
        )
    return Grammar(
        task=read_task(text),
        arrive_at_location=arrive,
        put=put[0],
        put_feedback=put[1].replace(".name", ""),
        help=_help(actions, rules),
    )


def rule_digest(rule: object) -> str:
    """Fingerprint of one grammar rule."""
    return hashlib.sha256(json.dumps(rule, sort_keys=True).encode()).hexdigest()[:12]


def _only_rhs(rules: dict[str, object], name: str) -> str:
    rule = rules.get(name)
    if isinstance(rule, list) and len(rule) == 1 and isinstance(rule[0], dict):
        return str(rule[0].get("rhs", ""))
    return ""


def _help(actions: dict[str, tuple[str, str]], rules: dict[str, object]) -> str | None:
    if "help" not in actions:
        return None
    feedback = actions["help"][1]
    if feedback.startswith("#"):
        feedback = _only_rhs(rules, feedback.strip("#"))
    else:
        feedback = feedback.replace("\\n", "\n")
    return feedback.lstrip()
