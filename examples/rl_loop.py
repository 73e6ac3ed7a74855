"""SIRI in one loop over public parts, to be read next to the paper (arXiv 2606.02355).

Three phases. Warm-up: GiGPO on plain rollouts. Mining: the policy turns its own wins into skills, and half of
each group sees one. Internalization: what the skill arm does better is taught under the plain prompt.
`siri run` does the same with checkpoints, several processes and tracking. Run it, in less than a minute:

    python examples/rl_loop.py
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from statistics import mean

from siri.algos import SiriObjective, linear_warmup
from siri.config import RunConfig, load_config
from siri.config.presets import preset
from siri.envs.alfworld import alfworld_suite
from siri.policies import HFPolicy
from siri.policies.tiny import base_path
from siri.rollout import GroupPlan, Rollout
from siri.rollout.evaluation import evaluate
from siri.rollout.suite import Suite
from siri.seeds import derive_seed
from siri.skills import PairedValidator, Retriever, SelfMiner, SkillBank
from siri.training.credit import advantages
from siri.training.learner import Learner
from siri.training.lessons import Gate, Standing
from siri.training.rows import Row, build_rows
from siri.types import Group, Sampling, SkillStatus, Task, Trajectory


def train(suite: Suite, policy: HFPolicy, config: RunConfig) -> Iterator[dict[str, float]]:
    """Train ``policy`` to the end of the third phase; the metrics of each iteration."""
    c, o = config, config.optimizer
    bank = SkillBank()
    validator = PairedValidator(
        bank, n_eval=c.validation.n_eval, activate=c.validation.activate, retire=c.validation.retire
    )
    retriever = Retriever(c.validation.top_k, n_eval=c.validation.n_eval)
    miner = SelfMiner.tiny(seed=c.seed)
    sampling = Sampling(temperature=c.rollout.temperature, max_tokens=c.rollout.max_tokens)
    rollout = Rollout(suite.make_env, suite.prompter, policy, sampling=sampling, slots=c.rollout.slots)
    learner = Learner(
        policy.model,
        SiriObjective(clip_high=o.clip_high, kl=0, entropy=0, floor=c.internalization.floor),
        lr=o.lr,
        weight_decay=o.weight_decay,
        minibatches=o.minibatches,
        recompute=False,
    )
    phase, since, k = "warmup", 0, 0
    wins: dict[str, list[Trajectory]] = {}

    while phase != "done":
        # Section 3.2: every I_mine iterations, a frozen snapshot summarises what the policy itself won
        validator.expire(k)
        if phase != "warmup" and (k - since) % c.mining.every == 0:
            miner.bind(policy.snapshot(), iteration=k)
            for skill in miner.mine([won for kind in sorted(wins) for won in wins[kind][-c.mining.keep :]]):
                bank.add(skill)

        # rollouts: all plain in the warm-up; then half of a group sees the skills, with the same seeds
        plans = []
        for place, task in enumerate(tasks(suite, c, k)):
            seed = derive_seed("group", c.seed, k, place)
            shown = () if phase == "warmup" else retriever.select(bank, task, seed)
            skilled = c.rollout.group_size // 2 if shown else 0
            plans.append(GroupPlan(task, c.rollout.group_size - skilled, skilled, shown, seed))
        groups = rollout.play(plans)
        for group in groups:
            for episode in group.arm("plain"):
                if episode.success:
                    wins.setdefault(episode.task.kind, []).append(episode)

        # Section 3.2: the treatment effect Δ of each group proves or retires its skills
        for group in groups:
            for skill_id in group.skills:
                validator.observe(skill_id, outcomes(group, "plain"), outcomes(group, "skill"))

        # Section 3.1: GiGPO on both arms, each under the prompt it was played with
        # Section 3.3: L_int on the turns of winning skill rollouts, under the plain prompt, with weight λ(k)
        rows, scale = rows_of(groups, bank, suite, c), 0.0
        if phase == "internalization":
            i = c.internalization
            scale = linear_warmup(k, start=since, length=i.warmup, peak=i.peak)
        policy.make_room(sleep=False)
        metrics = learner.update(rows, int_scale=scale, seed=derive_seed("learn", c.seed, k))
        policy.sync(learner)

        plain_wins = [won for group in groups for won in outcomes(group, "plain")]
        skilled_wins = [won for group in groups for won in outcomes(group, "skill")]
        metrics |= {"arm/plain/success": mean(plain_wins), "int/scale": scale}
        metrics |= {"arm/skill/success": mean(skilled_wins)} if skilled_wins else {}
        yield metrics | {f"bank/{status}": float(n) for status, n in bank.counts().items()}

        k += 1
        here, active = k - since, len(bank.records(SkillStatus.ACTIVE))
        if phase == "warmup":
            over = sum(map(len, wins.values())) >= c.warmup.successes or here >= c.warmup.max_iterations
        elif phase == "mining":
            enough = active >= c.mining.min_active and here >= c.mining.min_iterations
            over = enough or here >= c.mining.max_iterations
        else:
            over = here >= c.internalization.iterations
        if over:
            phase = {"warmup": "mining", "mining": "internalization"}.get(phase, "done")
            since = k


def tasks(suite: Suite, config: RunConfig, k: int) -> list[Task]:
    """The tasks of iteration ``k``: epochs over the train split, each shuffled by its own seed."""
    train = suite.split("train")
    chosen = []
    for position in range(k * config.rollout.tasks, (k + 1) * config.rollout.tasks):
        epoch, place = divmod(position, len(train))
        order = list(range(len(train)))
        random.Random(derive_seed("tasks", config.seed, epoch)).shuffle(order)
        chosen.append(train[order[place]])
    return chosen


def outcomes(group: Group, arm: str) -> list[bool]:
    """Which rollouts of an arm succeeded."""
    return [episode.success for episode in group.trajectories if episode.arm == arm]


def rows_of(groups: list[Group], bank: SkillBank, suite: Suite, config: RunConfig) -> list[Row]:
    """GiGPO's rows, and those of L_int of skill rollouts that helped."""
    credit = advantages(groups, config.advantage, max_return=suite.max_return)
    proven = {record.skill.id: record.evidence.utility for record in bank.records(SkillStatus.ACTIVE)}
    return build_rows(groups, credit, Gate().lessons(groups, credit, Standing(proven)))


SETTINGS = load_config(preset("smoke"), assignments=["rollout.group_size=8", "seed=3"])

if __name__ == "__main__":
    games = alfworld_suite(train_games=12, valid_games=6, max_steps=12, scale=0.4)
    learned = HFPolicy.load(base_path(), slots=SETTINGS.rollout.slots)
    for number, figures in enumerate(train(games, learned, SETTINGS)):
        print(number, f"plain success {figures['arm/plain/success']:.2f}", f"λ {figures['int/scale']:.1f}")
    print(evaluate(games, learned, split="valid_unseen", sampling=Sampling(max_tokens=12)).rate)
