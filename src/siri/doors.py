"""Doors: where a user's object becomes a complete part of a run, once.

An object that has the full form of its protocol comes through as it is; one that has the small form comes
out in a wrapper that adds what is missing. Every other file works with full forms, so this is the only one,
next to ``siri.testing``, that asks an object what it can do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from siri import answers
from siri.deadline import within
from siri.errors import ConfigError, EnvironmentFault, MinerFault, PartFault, PolicyFault, SiriError
from siri.processes import users_interrupt
from siri.protocols import (
    BoundMiner,
    Environment,
    FaultPolicy,
    Judge,
    Objective,
    Policy,
    PromptEncoder,
    Prompter,
    Seat,
    SkillMiner,
    Stateful,
    Term,
    Tokenizer,
    TrainablePolicy,
    Validator,
    WeightSource,
)
from siri.types import (
    Completion,
    FaultCounts,
    Info,
    Message,
    MiningReport,
    Request,
    Sampling,
    Skill,
    SkillStatus,
    Task,
    Trajectory,
)

if TYPE_CHECKING:
    from torch import nn

    from siri.algos.objectives import Loss, TokenBatch, TokenScores
    from siri.config import LoRAConfig
    from siri.skills.bank import SkillBank
    from siri.skills.evidence import SkillRecord
    from siri.skills.retrieval import SkillRetriever
    from siri.types import Shown, Turn

__all__ = [
    "benefit",
    "closed",
    "encoder",
    "faults",
    "generated",
    "judge",
    "judged",
    "lacks",
    "mined",
    "miner",
    "name_of",
    "objective",
    "parsed",
    "policy",
    "probed",
    "prompted",
    "seat",
    "seat_of",
    "selected",
    "stateful",
    "valued",
]

T = TypeVar("T")


def policy(given: Policy) -> TrainablePolicy:
    """A policy for rollouts and learning; one without weights plays, and learns nothing.

    Raises:
        ConfigError: it cannot generate.
    """
    if isinstance(given, TrainablePolicy):
        return given
    return _Playing(_having(given, "generate", "a policy"))


def encoder(given: object, what: str) -> PromptEncoder:
    """A policy that shows how it reads prompts, which ``what`` needs.

    Raises:
        ConfigError: it does not.
    """
    own = given.given if isinstance(given, _Playing) else given
    if isinstance(own, PromptEncoder):
        return own
    raise ConfigError(
        f"got {name_of(own)} without encode() and max_context, which {what} needs to prompt again; "
        "fix: HFPolicy, or see siri.protocols.PromptEncoder"
    )


def seat(given: Environment) -> Seat:
    """An environment at a place in a rollout."""
    if isinstance(given, Seat):
        return given
    for name in ("reset", "step"):
        if not callable(getattr(given, name, None)):
            raise EnvironmentFault(f"got {name_of(given)} without {name}, expected an Environment")
    return _Here(given)


def seat_of(make_env: Callable[[], Environment]) -> Seat:
    """A new environment.

    Raises:
        EnvironmentFault: making it raised anything at all.
    """
    return seat(_of_environment("", make_env))


def miner(given: SkillMiner) -> BoundMiner:
    """A miner that can be bound and reports."""
    own = _having(given, "mine", "a miner")
    return own if isinstance(own, BoundMiner) else _Unbound(own)


def judge(given: Validator) -> Judge:
    """A validator that keeps its evidence in the bank."""
    own = _having(given, "observe", "a validator")
    return own if isinstance(own, Judge) else _Observing(own)


def objective(given: Objective) -> Term:
    """A loss that says whether it needs a reference; one that does not say needs none."""
    if isinstance(given, Term):
        return given
    if not callable(given):
        raise ConfigError(
            f"got {name_of(given)} as an objective, expected a function of (batch, scores); fix: see "
            "siri.protocols.Objective"
        )
    return _Plain(given)


def faults(given: FaultPolicy | Callable[[EnvironmentFault, Task], None]) -> FaultPolicy:
    """What happens when an environment breaks; a function is told of every fault."""
    return given if isinstance(given, FaultPolicy) else _Told(given)


def stateful(parts: Mapping[str, object]) -> dict[str, Stateful]:
    """Those of ``parts`` whose state travels with checkpoints.

    Raises:
        ConfigError: a state is not plain data. Better now than when the first checkpoint is due.
    """
    found: dict[str, Stateful] = {}
    for name, part in parts.items():
        own = part.given if isinstance(part, _Observing | _Unbound) else part
        if isinstance(own, Stateful):
            answers.state(own.state_dict(), f"the {name}")
            found[name] = own
    return found


def mined(
    miner: BoundMiner, trajectories: Sequence[Trajectory], *, timeout: float | None = None
) -> tuple[tuple[Skill, ...], int]:
    """What a miner writes, and how many things among it are no skills and were left out.

    Args:
        miner: it.
        trajectories: what it reads.
        timeout: seconds that it may take; None waits for ever.

    Raises:
        MinerFault: it could not, took too long, raised anything at all, or returned something else than
            skills.
    """
    who = f"miner {name_of(miner)}"
    try:
        found = within(timeout, lambda: _asked(MinerFault, f"{who}: ", miner.mine, trajectories))
    except TimeoutError as error:
        raise MinerFault(
            f"got no skills from {who} within {timeout:g} s, expected an answer; fix: mining.timeout, or the "
            "miner"
        ) from error
    return answers.mined(found, who)


def probed(miner: SkillMiner) -> str:
    """What a miner says of itself when it is tried out; "" where it cannot be.

    Raises:
        MinerFault: it does not work.
    """
    probe: Callable[[], str] | None = getattr(miner, "probe", None)
    return "" if probe is None else str(_asked(MinerFault, f"miner {name_of(miner)}: ", probe))


def judged(
    validator: Validator, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]
) -> SkillStatus:
    """A validator's verdict on a skill after one more group.

    Raises:
        ConfigError: it is no status.
        PartFault: it raised anything at all.
    """
    name = name_of(validator)
    found = _asked(PartFault, f"{name}.observe: ", validator.observe, skill_id, plain, skilled)
    return answers.status(found, name)


def selected(retriever: SkillRetriever, bank: SkillBank, task: Task, seed: int) -> tuple[Skill, ...]:
    """The skills that a retriever chose for a group.

    Raises:
        PartFault: it raised anything at all, or chose something else than skills of the bank.
    """
    name = name_of(retriever)
    found = answers.selected(_asked(PartFault, f"{name}.select: ", retriever.select, bank, task, seed), name)
    for skill in found:
        if skill.id not in bank:
            raise PartFault(f"got the skill {skill.id[:40]!r} from {name}.select, expected one of the bank")
    return found


def benefit(gate: Callable[[Any, Trajectory], bool], group: Any, trajectory: Trajectory) -> float:
    """What a gate says of a rollout: a truth value, or a weight of at least 0.

    Raises:
        PartFault: it raised anything at all, or said something else.
    """
    name = f"gate {name_of(gate)}"
    return answers.finite(_asked(PartFault, f"{name}: ", gate, group, trajectory), name, "True or False")


def valued(objective: Objective, batch: TokenBatch, scores: TokenScores) -> Loss:
    """An objective's loss.

    Raises:
        PartFault: it raised anything at all, or returned something else than a ``Loss`` of one number.
    """
    name = f"objective {name_of(objective)}"
    loss: Any = _asked(PartFault, f"{name}: ", objective, batch, scores)
    tensor = getattr(loss, "value", None)
    if not isinstance(getattr(loss, "metrics", None), Mapping) or getattr(tensor, "shape", None) != ():
        raise PartFault(
            f"got {type(loss).__name__} from {name}, expected a siri.algos.Loss whose value has no dimension"
        )
    found: Loss = loss
    return found


def prompted(
    prompter: Prompter,
    task: Task,
    turns: Sequence[Turn],
    observation: str,
    admissible: Sequence[str],
    skills: Sequence[Shown] = (),
) -> list[Message]:
    """A prompter's messages.

    Raises:
        PartFault: it raised anything at all, or returned something else.
    """
    name, given = name_of(prompter), (task, turns, observation, admissible, skills)
    return answers.messages(_asked(PartFault, f"{name}.messages: ", prompter.messages, *given), name)


def parsed(prompter: Prompter, text: str) -> tuple[str, bool, tuple[int, int]]:
    """What a prompter reads in a reply.

    Raises:
        PartFault: it raised anything at all, or returned something else.
    """
    name = name_of(prompter)
    return answers.parsed(_asked(PartFault, f"{name}.parse: ", prompter.parse, text), text, name)


def generated(
    policy: TrainablePolicy, requests: Sequence[Request], sampling: Sampling
) -> tuple[list[Completion], int]:
    """What a policy answers, one completion for each request; and how many log-probs were rounded to 0.

    Raises:
        PolicyFault: it raised anything at all, or returned something else.
    """
    name = name_of(policy)
    found = _asked(PolicyFault, f"{name}: ", policy.generate, requests, sampling)
    model = policy.model
    size = getattr(getattr(model, "config", None), "vocab_size", None)
    return answers.completions(
        found,
        len(requests),
        name,
        vocabulary=size if isinstance(size, int) and size > 0 else None,
        trains=model is not None,
    )


def closed(given: object) -> None:
    """Close what can be closed."""
    close = getattr(given, "close", None)
    if callable(close):
        close()


def lacks(given: object) -> list[str]:
    """What a policy lacks of the full form that learning needs."""
    own = given.given if isinstance(given, _Playing) else given
    return [name for name in _TRAINABLE if not hasattr(own, name)]


def name_of(given: object) -> str:
    """How messages call a user's object."""
    inner = getattr(given, "func", given)  # functools.partial
    inner = inner.given if isinstance(inner, _WRAPPERS) else inner
    return str(getattr(inner, "__name__", None) or type(inner).__name__)


class _Here:
    """An environment in this process: a call is carried out when it is waited for."""

    def __init__(self, given: Environment) -> None:
        self.given = given

    def reset(self, *, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[str, Info]:
        answer: tuple[str, Info] = self.begin("reset", seed=seed, options=options)()
        return answer

    def step(self, action: str) -> tuple[str, float, bool, bool, Info]:
        answer: tuple[str, float, bool, bool, Info] = self.begin("step", action)()
        return answer

    def begin(self, name: str, *arguments: Any, **named: Any) -> Callable[[], Any]:
        call = self.given.reset if name == "reset" else self.given.step
        check = answers.reset if name == "reset" else answers.step
        who = type(getattr(self.given, "given", self.given)).__name__

        def wait() -> Any:
            return check(_of_environment(f"{who}.{name}: ", call, *arguments, **named), who)

        return wait

    def close(self) -> None:
        closed(self.given)


class _Playing:
    """A policy without weights of its own; whatever else it has is used."""

    model: nn.Module | None = None
    elsewhere: bool = False

    def __init__(self, given: Policy) -> None:
        self.given = given
        self.tokenizer: Tokenizer | None = getattr(given, "tokenizer", None)
        self._decode: Callable[[Sequence[int]], str | None] = getattr(given, "decode", lambda _: None)
        self._end: Callable[[str], None] = getattr(given, "end", lambda _: None)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        return self.given.generate(requests, sampling)

    def decode(self, ids: Sequence[int]) -> str | None:
        return self._decode(ids)

    def end(self, session: str) -> None:
        self._end(session)

    def snapshot(self) -> Policy:
        return self.given

    def adapt(self, lora: LoRAConfig, *, seed: int) -> bool:  # noqa: ARG002
        if lora.rank:
            raise ConfigError(
                f"got lora.rank={lora.rank} with {name_of(self)}, expected a policy with weights; fix: rank 0"
            )
        return False

    def make_room(self, *, sleep: bool) -> None:
        pass

    def sync(self, source: WeightSource) -> None:
        pass

    def save(self, folder: str | os.PathLike[str]) -> None:
        raise ConfigError(
            f"got {name_of(self)} to save in {os.fspath(folder)}, expected one with weights; fix: HFPolicy"
        )


class _Unbound:
    """A miner that need not know for whom it works."""

    def __init__(self, given: SkillMiner) -> None:
        self.given = given
        self._bind: Callable[..., object] = getattr(given, "bind", lambda *_, **__: None)

    @property
    def report(self) -> MiningReport:
        found = getattr(self.given, "report", None)
        return found if isinstance(found, MiningReport) else MiningReport()

    def bind(self, policy: Policy, *, iteration: int) -> object:
        return self._bind(policy, iteration=iteration)

    def mine(self, trajectories: Sequence[Trajectory]) -> list[Skill]:
        return self.given.mine(trajectories)


class _Observing:
    """A validator that knows no bank: the outcomes it is told, and its verdicts, are written there for it."""

    def __init__(self, given: Validator) -> None:
        self.given = given
        self._bank: SkillBank | None = None
        self._iteration = 0

    @property
    def priority(self) -> Callable[[SkillRecord], float | None] | None:
        found: Callable[[SkillRecord], float | None] | None = getattr(self.given, "priority", None)
        return found

    def begin(self, iteration: int, bank: SkillBank) -> Sequence[str]:
        self._iteration, self._bank = iteration, bank
        return ()

    def observe(self, skill_id: str, plain: Sequence[bool], skilled: Sequence[bool]) -> SkillStatus:
        status = judged(self.given, skill_id, plain, skilled)
        if self._bank is not None:
            rates = {"plain": sum(plain) / len(plain), "skilled": sum(skilled) / len(skilled)}
            self._bank.observe(skill_id, **rates, iteration=self._iteration)
            self._bank.set_status(skill_id, status, self._iteration)
        return status


class _Plain:
    """A loss that says nothing of a reference, and gets none."""

    needs_reference = False

    def __init__(self, given: Objective) -> None:
        self.given = given

    def __call__(self, batch: TokenBatch, scores: TokenScores) -> Loss:
        return self.given(batch, scores)

    def __repr__(self) -> str:
        return name_of(self)


class _Told:
    """A function that is told of every fault, and raises or returns."""

    def __init__(self, given: Callable[[EnvironmentFault, Task], None]) -> None:
        self.given = given

    def failed(self, fault: EnvironmentFault, task: Task) -> None:
        self.given(fault, task)

    def played(self, episodes: int, lost: int) -> None:
        pass

    def take(self) -> FaultCounts | None:
        return None


_WRAPPERS = (_Here, _Observing, _Plain, _Playing, _Told, _Unbound)
_TRAINABLE = (
    "model",
    "tokenizer",
    "elsewhere",
    "decode",
    "end",
    "snapshot",
    "adapt",
    "make_room",
    "sync",
    "save",
)


def _having(given: T, method: str, what: str) -> T:
    if isinstance(given, type):
        raise ConfigError(
            f"got the class {given.__name__} as {what}, expected an object; fix: {given.__name__}()"
        )
    if not callable(getattr(given, method, None)):
        raise ConfigError(
            f"got {given!r:.80} as {what}, expected an object with {method}(); fix: see siri.protocols"
        )
    return given


def _asked(fault: type[SiriError], who: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call somebody else's code; whatever it raises besides siri's own errors is ``fault``."""
    try:
        return function(*given, **named)
    except SiriError:
        raise
    except Exception as error:
        raise fault(f"{who}{answers.raised(error)}") from error


def _of_environment(who: str, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call an environment's code: an exit or an interrupt that it raises is its fault too."""
    try:
        return _asked(EnvironmentFault, who, function, *given, **named)
    except (SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and users_interrupt():
            raise
        raise EnvironmentFault(f"{who}{answers.raised(error)}") from error
