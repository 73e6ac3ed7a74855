r"""Record the golden values of tests/golden: what a change of the code's structure must not change.

    OMP_NUM_THREADS=1 python scripts/record_golden.py                      # every run, in minutes
    OMP_NUM_THREADS=1 python scripts/record_golden.py smoke-alfworld       # some of them
    OMP_NUM_THREADS=1 python scripts/record_golden.py --folder out         # elsewhere than tests/golden

Each file holds one run of the command line: its metrics, iteration by iteration, and what its summary says.
Times and sentences are left out. ``tests/test_golden.py`` repeats the runs and compares them digit by digit;
a value that changes on purpose is recorded again, and the commit says why. The first ones are of commit
8a6f82b, before the house was rebuilt.

The last digits of a run depend on the processor and on the version of torch, and only small differences can
be told from those. Each file therefore names the arithmetic that it was recorded with, and elsewhere the
comparison is a loose one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden"
POLICY = GOLDEN / "policy"
"""Speaks window prompts; made by build_window.py."""
LEFT_OUT = ("time", "seconds", "events", "reason")
"""Keys of no golden value: they change from run to run, or are sentences."""

_LOOK, _PICK, _HEAT = KINDS = (
    "look_at_obj_in_light",
    "pick_and_place_simple",
    "pick_heat_then_place_in_recep",
)
SKILLS = {
    _LOOK: ("the task is to look at an object under a light", "search the desk first, then use the lamp."),
    _PICK: ("the task is to put an object somewhere", "take it, then move it to the goal."),
    _HEAT: ("the task is to heat an object", "take it, heat it, then move it to the goal."),
    "beauty": ("the task is to buy a beauty product", "search the name, choose every option, then buy it."),
    "fashion": ("the task is to buy a fashion product", "search the name, choose every option, then buy it."),
}
"""Condition and strategy of the skill of a kind, in the runs that mine from a file."""

# warm-up, mining, and two iterations with L_int; the rate is raised so that learning shows in four iterations
_SHRUNKEN = (
    # what the preset did at 8a6f82b, where these were not settings or had other values
    "advantage={invalid_penalty: 0.1, failed_groups: verl-agent, normalize: mean_std}",
    "optimizer={lr: 1.0e-4, recompute: true, entropy: 0.001, kl: 0.01, batch_turns: null}",
    "warmup={successes: 1, max_iterations: 1}",
    "mining={every: 1, samples: 8, max_per_request: 1, min_active: 1, min_iterations: 1, max_iterations: 2}",
    "validation={n_eval: 1, activate: -1.0, retire: -1.0}",
    "internalization={iterations: 2, warmup: 1}",
)
_HOUSE = "scale: 0.4, valid_games: 4"
_SHOP = "catalog: tiny, valid_goals: 6"


@dataclass(frozen=True)
class Case:
    """One run of the command line."""

    env: str
    preset: str
    settings: tuple[str, ...] = ()
    taught: bool = False
    """The policy is ``POLICY`` and skills come from a file; otherwise the embedded policy does all."""

    def arguments(self, folder: Path) -> list[str]:
        """Of ``siri``, for a run in ``folder``/run."""
        words = [
            "run",
            "--env",
            self.env,
            "--preset",
            self.preset,
            "--seed",
            "0",
            "--out",
            str(folder / "run"),
        ]
        words += [word for setting in self.settings for word in ("--set", setting)]
        if self.taught:
            words += ["--policy", str(POLICY), "--miner", "file", "--skills", str(folder / "skills.json")]
        return words


CASES: Mapping[str, Case] = {
    "smoke-alfworld": Case("alfworld", "smoke"),
    "smoke-webshop": Case("webshop", "smoke"),
    # the papers' windows
    "paper-alfworld": Case(
        "alfworld",
        "paper",
        (
            *_SHRUNKEN,
            f"env={{max_steps: 6, train_games: 6, {_HOUSE}, kinds: [{', '.join(KINDS)}]}}",
            "rollout={tasks: 6, group_size: 4, slots: 16, max_tokens: 12}",
        ),
        taught=True,
    ),
    "paper-webshop": Case(
        "webshop",
        "paper",
        (
            *_SHRUNKEN,
            f"env={{max_steps: 6, {_SHOP}}}",
            "rollout={tasks: 4, group_size: 4, slots: 16, max_tokens: 12}",
        ),
        taught=True,
    ),
    # the same settings in the language of the embedded policies, which write their own skills
    "paper-alfworld-transcript": Case(
        "alfworld",
        "paper",
        (
            *_SHRUNKEN,
            f"env={{max_steps: 16, train_games: 12, {_HOUSE}, style: transcript, kinds: [{_LOOK}, {_PICK}]}}",
            "rollout={tasks: 6, group_size: 4, slots: 16, max_tokens: 12}",
        ),
    ),
    "paper-webshop-compact": Case(
        "webshop",
        "paper",
        (
            *_SHRUNKEN,
            f"env={{max_steps: 12, {_SHOP}, style: compact}}",
            "rollout={tasks: 6, group_size: 4, slots: 16, max_tokens: 16}",
        ),
    ),
}
"""What is recorded in seconds."""
STUDY = "study-siri-rare-3"
"""One cell of the study, which takes minutes: the run that `study check --arm siri --regime rare --seeds 3`
sets next to the committed table."""


def play(name: str, folder: Path) -> dict[str, Any]:
    """Carry out a run in an empty folder; what is compared of it.

    Raises:
        RuntimeError: it failed; the message ends with its last words.
    """
    if name == STUDY:
        out = folder / "run.json"
        words = ["-m", "benchmarks.study", "one", "--arm", "siri", "--regime", "rare"]
        _call([*words, "--seed", "3", "--out", str(out)], folder)
        return dict(stripped(json.loads(out.read_text(encoding="utf-8"))))
    rows = [
        {"kind": kind, "condition": condition, "strategy": strategy}
        for kind, (condition, strategy) in SKILLS.items()
    ]
    (folder / "skills.json").write_text(json.dumps(rows), encoding="utf-8")
    _call(["-m", "siri", *CASES[name].arguments(folder)], folder)
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "metrics": [stripped(json.loads(line)) for line in lines],
        "summary": stripped(json.loads((folder / "run" / "summary.json").read_text(encoding="utf-8"))),
    }


def _call(words: Sequence[str], folder: Path) -> None:
    """Python with one thread, a cache of its own and no real games, at the root of the checkout."""
    env = {key: value for key, value in os.environ.items() if key != "ALFWORLD_DATA"}
    env |= {"OMP_NUM_THREADS": "1", "SIRI_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")


def stripped(value: Any) -> Any:
    """Without the keys of ``LEFT_OUT``, at any depth."""
    if isinstance(value, dict):
        return {key: stripped(inner) for key, inner in value.items() if key not in LEFT_OUT}
    return [stripped(inner) for inner in value] if isinstance(value, list) else value


def differences(got: Any, expected: Any, *, exact: bool = True, where: str = "") -> Iterator[str]:
    """Where a run is not as it was recorded; keys that were not recorded may have any value.

    Args:
        got: what ``play`` returns now.
        expected: what it returned.
        exact: to the digit; otherwise numbers may differ as much as two processors do.
        where: path to both.
    """
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            if key in got:
                yield from differences(got[key], value, exact=exact, where=f"{where}/{key}")
            else:
                yield f"{where}/{key}: missing, expected {value!r}"
    elif isinstance(expected, list) and isinstance(got, list):
        if len(got) != len(expected):
            yield f"{where}: got {len(got)} entries, expected {len(expected)}"
        for number, (a, b) in enumerate(zip(got, expected, strict=False)):
            yield from differences(a, b, exact=exact, where=f"{where}[{number}]")
    elif got != expected and not (not exact and _close(got, expected)):
        yield f"{where}: got {got!r}, expected {expected!r}"


def _close(got: Any, expected: Any) -> bool:
    numbers = isinstance(got, float) and isinstance(expected, float)
    return numbers and math.isclose(got, expected, rel_tol=1e-2, abs_tol=1e-4)


def arithmetic() -> str:
    """How this processor and this torch round: equal where runs are equal to the digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        total = hashlib.sha256(torch.__version__.encode())
        for rows, inner, columns in ((1, 96, 288), (7, 96, 256), (64, 256, 96), (130, 48, 512)):
            a = torch.arange(rows * inner).reshape(rows, inner).mul(0.7).sin().requires_grad_()
            b = torch.arange(inner * columns).reshape(inner, columns).mul(1.3).cos().requires_grad_()
            heads = torch.nn.functional.silu(a @ b).reshape(rows, 4, -1).transpose(0, 1)[None]
            mixed = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads, is_causal=True)
            loss = mixed.flatten().log_softmax(0)[: columns // 2].exp().sum().rsqrt()
            for value in (mixed, loss, *torch.autograd.grad(loss, (a, b))):
                total.update(value.detach().contiguous().numpy().tobytes())
        return total.hexdigest()[:16]
    finally:
        torch.set_num_threads(threads)


def read(name: str) -> dict[str, Any]:
    """A committed file."""
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return found


def write(path: Path, record: Mapping[str, Any]) -> None:
    """JSON with one line for every entry of a list; floats keep all their digits."""
    lines = []
    for key, value in record.items():
        many = isinstance(value, list) and value and isinstance(value[0], dict)
        text = ",\n".join(["[", *map(json.dumps, value)]).replace("[,", "[", 1) + "\n]" if many else ""
        lines.append(f"{json.dumps(key)}: {text or json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*CASES, STUDY)))
    parser.add_argument("--folder", type=Path, default=GOLDEN, help="where the files are written")
    args = parser.parse_args()
    for name in args.names or (*CASES, STUDY):
        with tempfile.TemporaryDirectory() as folder:
            found = play(name, Path(folder))
        args.folder.mkdir(parents=True, exist_ok=True)
        write(args.folder / f"{name}.json", {"arithmetic": arithmetic(), **found})
        print(f"{name} recorded", flush=True)


if __name__ == "__main__":
    main()
