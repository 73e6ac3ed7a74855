"""The tables of docs/results.md and docs/methods/index.md, filled in from the committed runs.

A block of the page begins with ``<!-- study: NAME -->`` and ends with ``<!-- study end -->``. Between them
stands what ``BLOCKS[NAME]`` makes of the runs, so that the page cannot say what they do not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.study.arms import ARMS, FAMILY, asked
from benchmarks.study.claims import EXPECTATIONS, QUESTIONS, Difference, paired
from benchmarks.study.finished import Runs
from benchmarks.study.regimes import MAIN, REGIMES
from benchmarks.study.statistics import Floats, bootstrap, student
from benchmarks.study.tables import thousands
from siri.recipes import METHODS
from siri.skills import PROVEN
from siri.types import SkillStatus

__all__ = ["BLOCKS", "fill"]

_BLOCK = re.compile(r"(<!-- study: (?P<name>[a-z -]+) -->\n).*?(<!-- study end -->)", re.DOTALL)
_BOLD = ("siri", "siri_adaptive")
_REGIMES = ("rare", "default", "shop")
"""In the order of the page."""
_KINDS = {
    "look_at_obj_in_light": "look",
    "pick_and_place_simple": "pick",
    "pick_clean_then_place_in_recep": "clean",
    "pick_cool_then_place_in_recep": "cool",
    "pick_heat_then_place_in_recep": "heat",
    "pick_two_obj_and_place": "two",
}
_RECIPES = {
    "gigpo": "`gigpo`",
    "grpo": "`grpo`",
    "self_imitation": "`self_imitation`",
    "siri": "`siri`, its own skills",
    "oracle": "`siri`, right skills",
    "full_length": "`siri_both`, its own skills",
    "siri_adaptive": "`siri_adaptive`, its own skills",
    "grpo_turns": "GRPO by turns, the base of all below but `ucob`",
    **{name: f"`{name}`" for name in FAMILY if name in METHODS},
}
"""Arms that are a recipe as it is, or a base of one."""
_WRITERS = {
    "siri": "the policy",
    "openai_smollm2": "SmolLM2-135M after a warm start",
    "openai": "scripted, right words",
    "oracle": "people, right words",
}
_ANSWERS = {
    "held": "**Yes**",
    "refuted": "**No**, behind",
    "not decided": "Not decided",
    "not run": "–",
}


def fill(page: str, runs: Runs) -> str:
    """Write the blocks of ``page`` anew.

    Raises:
        KeyError: the page names a block that there is not.
    """
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found['name']](runs)}\n\n{found[3]}", page)


def bare(value: float, *, sign: bool = False) -> str:
    """.123, with ``sign`` +.123 or −.123."""
    text = f"{abs(value):.3f}".removeprefix("0")
    return f"{'−' if value < 0 else '+'}{text}" if sign else text


def _interval(low: float, high: float) -> str:
    return f"[{bare(low, sign=True)}, {bare(high, sign=True)}]"


def _measured(values: Floats) -> str:
    """Mean and bootstrap interval."""
    if not len(values):
        return "–"
    mean = bare(float(values.mean()), sign=True)
    return mean if len(values) < 2 else f"{mean} {_interval(*bootstrap(values))}"


def _by_t(values: Floats) -> str:
    return _interval(*student(values)) if len(values) > 1 else "–"


def _above(values: Floats) -> str:
    return f"{int((values > 0).sum())} of {len(values)}" if len(values) else "–"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _named(arm: str) -> str:
    return f"**`{arm}`**" if arm in _BOLD else f"`{arm}`"


def questions(runs: Runs) -> str:
    """What was asked, and the answer."""
    rows = []
    for text, difference in QUESTIONS:
        values = difference.values(runs)
        answer = _ANSWERS[difference.verdict(runs)]
        rows.append(
            [text, answer, difference.name, f"`{difference.regime}`", _measured(values), _above(values)]
        )
    return _table(["question", "answer", "difference", "regime", "last five", "seeds above 0"], rows)


def expectations(runs: Runs) -> str:
    """What was expected of the family, and what was measured."""
    rows = []
    for text, claims in EXPECTATIONS:
        for place, claim in enumerate(claims):
            values, verdict = claim.values(runs), claim.verdict(runs)
            found = (
                _measured(values) if "−" in claim.name else bare(float(values.mean())) if len(values) else "–"
            )
            row = [text if not place else "", claim.name, f"`{claim.regime}`", str(len(values)), found]
            rows.append(
                [*row, _by_t(values).replace("+", "") if "−" not in claim.name else _by_t(values), verdict]
            )
    return _table(["expected", "measured", "regime", "seeds", "last five", "by t", ""], rows)


def levels(runs: Runs, arms: Sequence[str], regimes: Sequence[str] = _REGIMES, others: str = "real") -> str:
    """Levels of arms, means over their seeds; ``others`` is the benchmark of the last column."""
    rows = []
    for regime in regimes:
        for place, arm in enumerate(arm for arm in arms if runs.seeds(regime, arm)):
            seeds = runs.seeds(regime, arm)
            curves = [
                bare(float(runs.measured(name, regime, arm, seeds).mean())) for name in ("area", "last five")
            ]
            ends = [
                _mean([runs.last(regime, arm, seed, benchmark, column) for seed in seeds])
                for benchmark, column in (
                    ("generated", "plain_success"),
                    ("generated", "skill_success"),
                    (others, "plain_success"),
                )
            ]
            rows.append(["" if place else f"`{regime}`", _named(arm), str(len(seeds)), *curves, *ends])
    head = ["regime", "arm", "seeds", "area", "last five", "last", "last, skills shown"]
    head.append("real valid_seen" if others == "real" else others)
    return _table(head, rows)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    some = f" ({len(known)})" if len(known) < len(values) else ""
    return bare(float(np.mean(known))) + some


def differences(runs: Runs, pairs: Sequence[tuple[str, str]], regimes: Sequence[str] = _REGIMES) -> str:
    """Paired differences by both measures."""
    rows = []
    for regime in regimes:
        found = [pair for pair in pairs if runs.seeds(regime, *pair)]
        for place, (first, second) in enumerate(found):
            values = paired(runs, regime, first, second)
            row = ["" if place else f"`{regime}`", f"`{first}` − `{second}`", str(len(values))]
            row += [_measured(paired(runs, regime, first, second, "area")), _measured(values)]
            rows.append([*row, _by_t(values), _above(values)])
    head = ["regime", "difference", "seeds", "area", "last five", "last five by t", "above 0"]
    return _table(head, rows)


def kinds(runs: Runs) -> str:
    """`siri_adaptive` minus GiGPO by kind of task."""
    rows = []
    for regime in _REGIMES:
        seeds = runs.seeds(regime, "siri_adaptive", "gigpo")
        for place, kind in enumerate(runs.kinds(regime) if seeds else []):
            a, b = (
                runs.measured("last five", regime, arm, seeds, kind) for arm in ("siri_adaptive", "gigpo")
            )
            name = _KINDS.get(kind, kind)
            rows.append(["" if place else f"`{regime}`", name, _measured(a - b), _by_t(a - b), _above(a - b)])
    return _table(["regime", "kind", "last five", "by t", "above 0"], rows)


def tokens(runs: Runs) -> str:
    """What an episode costs at deployment, plain and with skills in the prompt, and what it wins."""
    rows = []
    for regime in _REGIMES:
        arms = [arm for arm in ARMS if _priced(runs, regime, arm)]
        for place, arm in enumerate(arms):
            seeds = _priced(runs, regime, arm)
            cells = ["" if place else f"`{regime}`", _named(arm), str(len(seeds))]
            for side in ("plain", "skill"):
                cells.append(
                    _mean([runs.last(regime, arm, s, "generated", f"{side}_success") for s in seeds])
                )
                for what in ("read", "new"):
                    spent = [
                        sum(
                            runs.last(regime, arm, s, "generated", f"{side}_tokens_{part}") or 0.0
                            for part in (what, "written")
                        )
                        for s in seeds
                    ]
                    cells.append(f"{np.mean(spent):,.0f}")
            rows.append(cells)
    head = ["regime", "arm", "seeds", "plain", "tokens", "cached", "with skills", "tokens", "cached"]
    return _table(head, rows)


def _priced(runs: Runs, regime: str, arm: str) -> list[int]:
    """Seeds whose last evaluation counted tokens with skills too."""
    return [s for s in runs.seeds(regime, arm) if runs.last(regime, arm, s, "generated", "skill_tokens_read")]


def context(runs: Runs) -> str:
    """Skills kept in the prompt against plain prompts that learnt, at equal training steps."""
    rows = []
    for regime in _REGIMES:
        pairs = itertools.product(
            ("skill_arm", "d2skill", "skillrl"), ("siri", "siri_adaptive", "full_length")
        )
        compared = [Difference(*pair, regime, measure="last, skills shown") for pair in pairs]
        found = [(each.name, values) for each in compared if len(values := each.values(runs))]
        for place, (name, values) in enumerate(found):
            row = ["" if place else f"`{regime}`", name, str(len(values))]
            rows.append([*row, _measured(values), _by_t(values), _above(values)])
    return _table(["regime", "difference", "seeds", "mean", "by t", "above 0"], rows)


def methods(runs: Runs) -> str:
    """What each recipe came to in `rare`, and what it read and taught; means over seeds."""
    rows = []
    for arm, name in _RECIPES.items():
        seeds = runs.seeds("rare", arm)
        base = "grpo_turns" if arm in FAMILY and arm != "ucob" else "gigpo"
        cells = [name, str(len(seeds)), _mean(list(runs.measured("last five", "rare", arm, seeds)))]
        cells.append("–" if arm == base else _measured(paired(runs, "rare", arm, base)))
        for side in ("plain", "skill"):
            cells.append(_mean([runs.last("rare", arm, s, "generated", f"{side}_success") for s in seeds]))
        for spent in (runs.read_by_teacher, runs.taught):
            cells.append(thousands([spent("rare", arm, s) for s in seeds]))
        rows.append(cells)
    head = ["recipe", "seeds", "last five", "− base", "last", "last, skills shown", "teacher", "taught"]
    return _table(head, rows)


def writers(runs: Runs) -> str:
    """What came of the skills of each writer in `rare`, and their cost where counted; means over seeds."""
    rows = []
    for arm, who in _WRITERS.items():
        found = [runs.of["rare", arm, seed] for seed in runs.seeds("rare", arm)]
        if not found:
            continue
        kept = [len(run["skills"]) for run in found]
        proven = [sum(SkillStatus(skill["status"]) in PROVEN for skill in run["skills"]) for run in found]
        cells = [_named(arm), who, str(len(found)), f"{np.mean(kept):.1f}", f"{np.mean(proven):.1f}"]
        for what in ("requests", "tokens"):
            spent = [run["writer"][what] for run in found if "writer" in run]
            # the scripted writer reports no tokens
            cells.append(f"{np.mean(spent):,.0f}" if any(spent) else "–")
        cells.append(bare(float(runs.measured("last five", "rare", arm, runs.seeds("rare", arm)).mean())))
        rows.append([*cells, "–" if arm == "siri" else _measured(paired(runs, "rare", arm, "siri"))])
    head = ["arm", "writer", "seeds", "skills", "proven", "requests", "tokens", "last five", "− `siri`"]
    return _table(head, rows)


def state(runs: Runs) -> str:
    """How many seeds each arm has, of those that the protocol asks for."""
    rows = []
    for arm in ARMS:
        cells = []
        for regime in REGIMES:
            most, there = asked(arm, regime), len(runs.seeds(regime, arm))
            cells.append(f"{there} of {most}" if most else "–")
        rows.append([_named(arm), *cells])
    return _table(["arm", *(f"`{regime}`" for regime in REGIMES)], rows)


FIRST = [name for name in ARMS if name not in FAMILY]
_BASES = ("siri", "gigpo")
_WORLDS = tuple(name for name, place in REGIMES.items() if place.also)
_AMONG_MAIN = list(itertools.combinations(reversed(MAIN), 2))
BLOCKS: Mapping[str, Callable[[Runs], str]] = {
    "questions": questions,
    "expectations": expectations,
    "levels": lambda runs: levels(runs, FIRST),
    "differences": lambda runs: differences(
        runs,
        [("siri", "gigpo"), ("siri", "skill_arm"), ("skill_arm", "gigpo")]
        + [
            ("siri", arm)
            for arm in FIRST
            if arm not in (*_BASES, "skill_arm", "grpo", "siri_adaptive", "full_length")
        ]
        + [("no_replay", "gigpo"), ("gigpo", "grpo")],
    ),
    "adaptive": lambda runs: differences(
        runs,
        [("siri_adaptive", arm) for arm in ("siri", "gigpo", "self_imitation", "oracle", "full_length")]
        + [("full_length", "siri")],
    ),
    "kinds": kinds,
    "family": lambda runs: levels(runs, ["gigpo", "oracle", *FAMILY]),
    "family differences": lambda runs: differences(
        runs,
        [(arm, base) for arm in FAMILY for base in ("grpo_turns", "gigpo", "oracle") if arm != base]
        + [("skill_sd_0.1", "skill_sd_0.1_wrong"), ("rlsd", "rlsd_shuffled")],
    ),
    "long": lambda runs: levels(runs, MAIN, ["long"]),
    "long differences": lambda runs: differences(runs, _AMONG_MAIN, ["long"]),
    "worlds": lambda runs: levels(runs, MAIN, _WORLDS, "valid_seen"),
    "world differences": lambda runs: differences(runs, _AMONG_MAIN, _WORLDS),
    "methods": methods,
    "writers": writers,
    "tokens": tokens,
    "context": context,
    "state": state,
}
"""What a block of a page shows."""
