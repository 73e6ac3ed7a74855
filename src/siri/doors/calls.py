"""Calls of a user's code: results are checked, and every error becomes a fault that names the part."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from siri import answers
from siri.deadline import Waiting, within
from siri.doors.names import inside, name_of
from siri.errors import MinerFault, PartFault, PolicyFault, SiriError
from siri.processes import users_interrupt
from siri.protocols import (
    Adviser,
    BoundMiner,
    Judge,
    Policy,
    Prompter,
    SkillMiner,
    Stateful,
    TrainablePolicy,
    Validator,
)
from siri.types import (
    Advice,
    Completion,
    Group,
    Message,
    MiningReport,
    Request,
    Sampling,
    Skill,
    SkillStatus,
    Task,
    Trajectory,
    Written,
)

if TYPE_CHECKING:
    from siri.algos.objectives import Loss, TokenBatch, TokenScores
    from siri.rollout.horizon import Horizon
    from siri.skills.bank import SkillBank
    from siri.skills.retrieval import SkillRetriever
    from siri.types import Shown, Turn

__all__ = [
    "advised",
    "asked",
    "begun",
    "benefit",
    "bound",
    "closed",
    "generated",
    "judged",
    "limited",
    "mined",
    "parsed",
    "probed",
    "prompted",
    "reported",
    "scheduled",
    "screened",
    "seen",
    "selected",
    "taken_back",
    "told",
    "valued",
    "written",
]

T = TypeVar("T")


def mined(
    miner: BoundMiner, trajectories: Sequence[Trajectory], *, timeout: float | None = None
) -> tuple[tuple[Skill, ...], int]:
    """Call a miner; return its skills, and how many items were left out because they are not skills.

    Args:
        miner: the miner.
        trajectories: the episodes to read.
        timeout: seconds that it may take; None waits for ever.

    Raises:
        MinerFault: the miner raised any error, took too long, or returned something other than skills.
    """
    who = f"miner {name_of(miner)}"
    found = _in_time(timeout, who, lambda: asked(MinerFault, f"{who}: ", miner.mine, trajectories))
    skills: tuple[tuple[Skill, ...], int] = asked(MinerFault, f"{who}: ", answers.mined, found, who)
    return skills


def bound(miner: BoundMiner, policy: Policy, *, iteration: int, timeout: float | None = None) -> None:
    """Bind a miner to the policy that it works for.

    Raises:
        MinerFault: the miner took too long, or raised any error.
    """
    who = f"miner {name_of(miner)}"
    call = partial(asked, MinerFault, f"{who}.bind: ", miner.bind, policy, iteration=iteration)
    _in_time(timeout, who, call)


def reported(miner: BoundMiner) -> MiningReport:
    """A miner's report of what it did; if the report fails, one with a note about that."""
    who = f"miner {name_of(miner)}"
    try:
        return answers.report(asked(MinerFault, f"{who}.report: ", lambda: miner.report), who)
    except MinerFault as fault:
        return MiningReport(notes=(str(fault),))


def probed(miner: SkillMiner) -> str:
    """Probe a miner, and return its description of the result; "" if it has no probe.

    Raises:
        MinerFault: the miner does not work.
    """
    probe: Callable[[], str] | None = getattr(miner, "probe", None)
    return "" if probe is None else str(asked(MinerFault, f"miner {name_of(miner)}: ", probe))


def judged(
    validator: Validator, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]
) -> SkillStatus:
    """Show a validator one more group of a skill; return its verdict.

    Raises:
        PartFault: the validator raised any error, or did not return a status.
    """
    name = name_of(validator)
    found = asked(PartFault, f"{name}.observe: ", validator.observe, skill_id, plain, skilled)
    return answers.status(found, name)


def begun(judge: Judge, iteration: int, bank: SkillBank) -> tuple[str, ...]:
    """Start an iteration of a judge; return the ids of the skills whose time is up.

    Raises:
        PartFault: the judge raised any error, or returned something else.
    """
    name = name_of(judge)
    found = asked(PartFault, f"{name}.begin: ", judge.begin, iteration, bank)
    return answers.names(found, f"{name}.begin")


def selected(
    retriever: SkillRetriever, bank: SkillBank, task: Task, seed: int, *, iteration: int = 0
) -> tuple[Skill, ...]:
    """Let a retriever choose the skills of a group; pass the iteration only if it has that parameter.

    Raises:
        PartFault: the retriever raised any error, or chose something other than skills of the bank.
    """
    name = name_of(retriever)
    named = {"iteration": iteration} if _takes(retriever.select, "iteration") else {}
    chosen = asked(PartFault, f"{name}.select: ", retriever.select, bank, task, seed, **named)
    found = answers.selected(chosen, name)
    for skill in found:
        if skill.id not in bank:
            raise PartFault(f"got the skill {skill.id[:40]!r} from {name}.select, expected one of the bank")
    return found


def limited(horizon: Horizon, task: Task) -> int | None:
    """Ask a horizon how many turns an episode of ``task`` may take.

    Raises:
        PartFault: the horizon raised any error, or returned something other than a number from 1, or None.
    """
    name = name_of(horizon)
    found = asked(PartFault, f"{name}.turns: ", horizon.turns, task)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise PartFault(f"got {found!r:.60} from {name}.turns, expected a number of turns from 1, or None")
    return found


def seen(horizon: Horizon, groups: Sequence[Group]) -> None:
    """Show a horizon the groups of an iteration.

    Raises:
        PartFault: the horizon raised any error.
    """
    asked(PartFault, f"{name_of(horizon)}.observe: ", horizon.observe, groups)


def screened(
    screen: Callable[[Sequence[Skill]], Sequence[float | None]], skills: Sequence[Skill]
) -> list[float | None]:
    """Get a screen's verdict on each of ``skills``: a priority, or None for a veto.

    Raises:
        PartFault: the screen raised any error, or returned something else.
    """
    name = name_of(screen)
    found = list(asked(PartFault, f"{name}: ", lambda: list(screen(skills))))
    if len(found) != len(skills):
        raise PartFault(
            f"got {len(found)} verdicts from {name}, expected one for each of {len(skills)} skills"
        )
    what = "a finite number, or None for a veto"
    return [None if verdict is None else answers.finite(verdict, name, what) for verdict in found]


def written(adviser: Adviser, groups: Sequence[Group], policy: Policy, *, iteration: int) -> Written:
    """Bind an adviser to a snapshot of the policy; return what it writes on these groups.

    Raises:
        MinerFault: the adviser raised any error, or returned something else.
    """
    who = f"adviser {name_of(adviser)}"
    asked(MinerFault, f"{who}.bind: ", adviser.bind, policy, iteration=iteration)
    found = asked(MinerFault, f"{who}: ", adviser.write, groups)
    if isinstance(found, Written):
        return found
    raise MinerFault(f"got {type(found).__name__} from {who}, expected a siri.types.Written; fix: return one")


def benefit(gate: Callable[[Any, Trajectory], bool], group: Any, trajectory: Trajectory) -> float:
    """Ask a gate about a rollout; return its truth value or weight, at least 0.

    Raises:
        PartFault: the gate raised any error, or returned something else.
    """
    name = f"gate {name_of(gate)}"
    return answers.finite(asked(PartFault, f"{name}: ", gate, group, trajectory), name, "True or False")


def valued(
    objective: Callable[[TokenBatch, TokenScores], Loss], batch: TokenBatch, scores: TokenScores
) -> Loss:
    """Compute an objective's loss.

    Raises:
        PartFault: the objective raised any error, or did not return a ``Loss`` of one number.
    """
    name = f"objective {name_of(objective)}"
    loss: Any = asked(PartFault, f"{name}: ", objective, batch, scores)
    tensor, metrics = getattr(loss, "value", None), getattr(loss, "metrics", None)
    if not isinstance(metrics, Mapping) or getattr(tensor, "shape", None) != ():
        raise PartFault(
            f"got {type(loss).__name__} from {name}, expected a siri.algos.Loss whose value has no dimension"
        )
    for key, value in metrics.items():
        if not isinstance(value, int | float) or not isinstance(key, str):
            raise PartFault(
                f"got the metric {key!r:.40} of type {type(value).__name__} from {name}, expected a float; "
                "fix: float(...)"
            )
    found: Loss = loss
    return found


def told(policy: TrainablePolicy, call: Callable[..., T], *given: Any, **named: Any) -> T:
    """Call a method of a policy and return its result.

    Raises:
        PolicyFault: the method raised any error other than siri's own.
    """
    called = getattr(call, "__name__", "")
    found: T = asked(PolicyFault, f"{name_of(policy)}.{called}: ", call, *given, **named)
    return found


def taken_back(part: Stateful, name: str, state: Mapping[str, Any]) -> None:
    """Restore the state of a part.

    Raises:
        PartFault: the part raised any error.
    """
    asked(PartFault, f"the {name} cannot take its state back: ", part.load_state_dict, state)


def prompted(
    prompter: Prompter,
    task: Task,
    turns: Sequence[Turn],
    observation: str,
    admissible: Sequence[str],
    skills: Sequence[Shown] = (),
) -> list[Message]:
    """Get a prompter's messages.

    Raises:
        PartFault: the prompter raised any error, or returned something else.
    """
    name, given = name_of(prompter), (task, turns, observation, admissible, skills)
    return answers.messages(asked(PartFault, f"{name}.messages: ", prompter.messages, *given), name)


def parsed(prompter: Prompter, text: str) -> tuple[str, bool, tuple[int, int]]:
    """Let a prompter parse a reply.

    Raises:
        PartFault: the prompter raised any error, or returned something else.
    """
    name = name_of(prompter)
    return answers.parsed(asked(PartFault, f"{name}.parse: ", prompter.parse, text), text, name)


def generated(
    policy: TrainablePolicy, requests: Sequence[Request], sampling: Sampling
) -> tuple[list[Completion | PolicyFault], int]:
    """Generate; return completions, or faults in their place, and how many log-probs were rounded to 0.

    Raises:
        PolicyFault: the policy raised any error, or did not return one answer for each request.
    """
    found = asked(PolicyFault, f"{name_of(policy)}: ", policy.generate, requests, sampling)
    return answered(policy, found, len(requests))


def answered(
    policy: TrainablePolicy, found: object, count: int | None = None
) -> tuple[list[Completion | PolicyFault], int]:
    """Check a policy's completions; return them, or faults, and how many log-probs were rounded to 0.

    Raises:
        PolicyFault: these are not completions, or there are not ``count`` of them.
    """
    model = policy.model
    size = getattr(getattr(model, "config", None), "vocab_size", None)
    return answers.completions(
        found,
        len(found) if count is None and isinstance(found, Sequence) else count or 0,
        name_of(policy),
        vocabulary=size if isinstance(size, int) and size > 0 else None,
        trains=model is not None,
    )


def advised(
    advise: Callable[[Sequence[Group], SkillBank], Any], groups: Sequence[Group], bank: SkillBank
) -> Mapping[tuple[str, int | None], Sequence[Advice]]:
    """Call a function that writes advice for teachers.

    Raises:
        MinerFault: the writer does not answer.
        PartFault: the function raised any other error, or returned something else.
    """
    name = f"advice {name_of(advise)}"
    return answers.advice(asked(PartFault, f"{name}: ", advise, groups, bank), name)


def scheduled(schedule: Callable[[int], float], iteration: int) -> float:
    """Get λ of an iteration from a schedule.

    Raises:
        PartFault: the schedule raised any error, or did not return a number of at least 0.
    """
    name = f"schedule {name_of(schedule)}"
    found = answers.finite(asked(PartFault, f"{name}: ", schedule, iteration), name, "a finite λ")
    if found < 0:
        raise PartFault(f"got {found:g} from {name}, expected a λ of at least 0")
    return found


def closed(given: object) -> None:
    """Close an object that can be closed, or the one that it completes.

    Raises:
        PartFault: closing raised any error.
    """
    close = getattr(inside(given), "close", None)
    if callable(close):
        asked(PartFault, f"{name_of(given)}.close: ", close)


def asked(fault: type[SiriError], who: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call a user's code; turn every error except siri's own into ``fault``.

    That includes an exit, an interrupt that is not the user's, and errors of libraries outside ``Exception``
    (a panic in Rust, a cancelled asyncio task). The watch of the thread ends a call that hangs.
    """
    try:
        # a policy has no time limit
        with Waiting(who.rstrip(": "), ends=fault is not PolicyFault):
            return function(*given, **named)
    except SiriError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and users_interrupt():
            raise
        raise fault(f"{who}{answers.raised(error)}") from error


def _in_time(timeout: float | None, who: str, call: Callable[[], T]) -> T:
    """Return what ``call`` returns within ``timeout`` seconds.

    Raises:
        MinerFault: the call took longer.
    """
    try:
        return within(timeout, call)
    except TimeoutError as error:
        raise MinerFault(
            f"got no skills from {who} within {timeout:g} s, expected an answer; fix: mining.timeout, or the "
            "miner"
        ) from error


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function accepts ``name=``."""
    try:
        given = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # written in C
        return True
    return any(p.kind is p.VAR_KEYWORD or (p.name == name and p.kind is not p.POSITIONAL_ONLY) for p in given)
