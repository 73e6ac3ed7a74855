"""The report of the study: CSV, tables and figures from finished runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.study.figures import figures
from benchmarks.study.finished import Runs, write_csv
from benchmarks.study.page import fill
from benchmarks.study.tables import tables
from siri.storage import write_atomic

__all__ = ["report"]


def report(folder: Path, out: Path, pictures: Path | None = None, pages: Sequence[Path] = ()) -> None:
    """Write study.csv, study.md and the runs to ``out``, the figures to ``pictures`` or there too, and the
    tables of ``pages`` anew.
    """
    runs = Runs.read(folder)
    if not runs.of:
        raise SystemExit(
            f"got no finished run under {folder}, expected some; fix: python -m benchmarks.study run"
        )
    pictures = pictures or out
    for place in (out, pictures):
        place.mkdir(parents=True, exist_ok=True)
    write_csv(runs, out / "study.csv")
    runs.pack(out / "runs.jsonl.xz")
    text = tables(runs)
    names = figures(runs, pictures)
    where = Path(os.path.relpath(pictures, out))
    links = (f"![{name}]({(where / name).as_posix()})" for name in names)
    text += "\n".join(["## Figures", "", *links]) + "\n"
    (out / "study.md").write_text(text, encoding="utf-8")
    for page in pages:
        write_atomic(page, fill(page.read_text(encoding="utf-8"), runs))
    print(f"wrote {out}/study.csv, study.md and {len(names)} figures")
