"""Records what alfworld's own engine says in the games of the differential tests.

    python scripts/record_transcripts.py

writes tests/envs/alfworld/fixtures/parity.json.gz: one game for each kind and room, so that the native engine
is tested against it where alfworld is not installed. Needs the extra "alfworld".
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.envs.alfworld.cases import SEED, cases, digest  # noqa: E402

from siri.envs.alfworld.grammar import read_task  # noqa: E402
from siri.envs.alfworld.parity import compare_game  # noqa: E402
from siri.envs.alfworld.textworld import Reference  # noqa: E402
from siri.envs.alfworld.variants import check_known  # noqa: E402

STEPS = 30


def main() -> None:
    reference, records = Reference(), []
    with tempfile.TemporaryDirectory() as folder:
        for index, (label, content) in enumerate(cases(Path(folder), 1, seed=SEED)):
            shuffle = index if index % 4 == 3 else None
            found = compare_game(content, reference, steps=STEPS, seed=index, shuffle=shuffle)
            if found.difference is not None:
                raise SystemExit(f"{label}: {found.difference}")
            first = found.moments[0]
            steps = [[m.command, m.feedback, m.valid, digest(m.admissible), m.won] for m in found.moments]
            game = {
                "variant": check_known(content["pddl_domain"], content["grammar"]),
                "task": read_task(content["grammar"]),
                "problem": content["pddl_problem"],
            }
            records.append(
                {"label": label, "shuffle": shuffle, **game, "first": first.admissible, "steps": steps}
            )
            print(label)
    target = ROOT / "tests/envs/alfworld/fixtures/parity.json.gz"
    text = json.dumps(records, indent=0).encode()
    target.write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main()
