"""WebShop: memory of many environments, steps and searches a second, a catalogue of the official one's size.

    python benchmarks/webshop.py --out benchmarks/results/webshop.md
    python benchmarks/webshop.py --compare 20000 --stress 1180000 --out benchmarks/results/webshop.md

Every measurement runs in a process of its own, so that its peak memory is its own. ``--stress`` writes a file
of that many products with lengths like those of the official one (about 3 KB each), loads it and deletes it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

ENVIRONMENTS = 1000


def peak() -> float:
    """Peak memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def clock() -> tuple[float, float]:
    """(wall, processor) seconds."""
    return time.perf_counter(), time.process_time()


def many() -> dict[str, float]:
    """Memory of 1,000 environments in the middle of an episode."""
    from siri.envs.webshop import WebShop, build_goals, bundled_catalog

    catalog = bundled_catalog("small")
    goals = build_goals(catalog)
    environments = [WebShop(catalog, goals) for _ in range(ENVIRONMENTS)]
    one = peak()
    for n, env in enumerate(environments):
        env.reset(options={"goal": n})
        env.step(f"search[{goals[n].instruction}]")
        if env.session is not None:
            env.step(f"click[{catalog.products[env.session.results()[0]].asin}]")
    return {"envs/before_mb": one, "envs/peak_mb": peak()}


def steps() -> dict[str, float]:
    """Steps a second in one process: random walks whose searches were done before (searching is apart)."""
    from siri.envs.webshop import WebShop, build_goals, bundled_catalog

    catalog = bundled_catalog("small")
    goals = build_goals(catalog)[:400]
    env = WebShop(catalog, goals)
    for goal in goals:
        env.index.search(goal.query)
    rng, count = random.Random(0), 0
    wall, processor = clock()
    while count < 60_000:
        number = rng.randrange(len(goals))
        _, info = env.reset(options={"goal": number})
        action = f"search[{goals[number].query}]"
        while True:
            _, _, terminated, truncated, info = env.step(action)
            count += 1
            if terminated or truncated:
                break
            action = rng.choice(info["admissible"])
            if action.startswith("search"):
                action = f"search[{goals[number].query}]"
    now = clock()
    return {"steps/wall": count / (now[0] - wall), "steps/cpu": count / (now[1] - processor)}


def searches() -> dict[str, float]:
    """Searches a second: instructions, none asked twice; the library's search, analysis included."""
    from siri.envs.webshop import build_goals, bundled_catalog, shared_index

    catalog = bundled_catalog("small")
    index = shared_index(catalog)
    queries = [goal.instruction.lower() for goal in build_goals(catalog)][:5000]
    index.search("warm up")
    index.forget()
    wall, processor = clock()
    for query in queries:
        index.search(query)
    now = clock()
    return {
        "searches/wall": len(queries) / (now[0] - wall),
        "searches/cpu": len(queries) / (now[1] - processor),
    }


def load(folder: str) -> dict[str, float]:
    """One pass over the files in ``folder``."""
    from siri.envs.webshop import load_catalog

    wall, processor = clock()
    catalog = load_catalog(Path(folder) / "items.json", Path(folder) / "ins.json")
    now = clock()
    size = (Path(folder) / "items.json").stat().st_size
    return {
        "products": len(catalog),
        "file_gb": size / 2**30,
        "wall_s": now[0] - wall,
        "cpu_s": now[1] - processor,
        "peak_mb": peak(),
    }


def whole(folder: str) -> dict[str, float]:
    """The same files by json.load, every field kept: what a plain loader needs before it can begin."""
    wall = time.perf_counter()
    with open(Path(folder) / "items.json", encoding="utf-8") as items:
        kept = json.load(items)
    return {"products": len(kept), "wall_s": time.perf_counter() - wall, "peak_mb": peak()}


def write_stress(folder: Path, products: int) -> None:
    """``items.json`` and ``ins.json`` with unused fields and texts as long as the official file's."""
    from siri.envs.webshop import make_catalog

    items, ins, _ = make_catalog(1000)
    rng = random.Random(0)
    words = [word for item in items for word in item["full_description"].split()][:5000]
    folder.mkdir(parents=True, exist_ok=True)
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with (folder / "items.json").open("w", encoding="utf-8") as file:
        for n in range(products):
            item = items[n % 1000]
            begin = rng.randrange(4000)
            text = " ".join(words[begin : begin + 120])
            options = {
                **(item["customization_options"] or {}),
                "style name": [{"value": f"style {n}", "image": "https://example.org/image.jpg"}],
            }
            record = {
                **item,
                "asin": f"S{n:09d}",
                "full_description": text,
                "small_description": [f"{text[k : k + 140]} {n}" for k in range(0, 600, 140)],
                "customization_options": options,
                "product_information": {f"field {k}": text[:40] for k in range(8)},
                "brand": "brand",
                "list_price": "",
                "availability_status": "In Stock.",
                "seller_name": text[:30],
            }
            file.write(("," if n else "[") + encode(record))
        file.write("]")
    rows = list(ins.values())
    with (folder / "ins.json").open("w", encoding="utf-8") as file:
        for n in range(products):
            file.write(("," if n else "{") + f'"S{n:09d}":' + encode(rows[n % 1000]))
        file.write("}")


def run(name: str, *arguments: str) -> dict[str, Any]:
    """A measurement in a fresh process."""
    command = [sys.executable, __file__, "--only", name, *arguments]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    print(name, found, flush=True)
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The results as a page."""
    versions = {name: metadata.version(name) for name in ("siri-rl", "bm25s", "numpy", "rapidfuzz")}
    lines = [
        "# WebShop: memory and speed",
        "",
        f"`benchmarks/webshop.py`, Python {platform.python_version()}, {os.cpu_count()} shared cores, "
        f"one thread; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". Load of the machine while it ran (mean number of busy processes): "
        + f"{os.getloadavg()[0]:.0f}, so that wall-clock rates are lower bounds.",
        "",
        "| what | measured | wanted |",
        "|---|---|---|",
        f"| 1,000 environments on 1,000 products, peak memory of the process | "
        f"{rows['many']['envs/peak_mb']:.0f} MB "
        f"| < 300 MB |",
        f"| … of which before the first episode | {rows['many']['envs/before_mb']:.0f} MB | |",
        f"| steps a second, searches done before | {rows['steps']['steps/wall']:,.0f} wall, "
        f"{rows['steps']['steps/cpu']:,.0f} per processor second | ≥ 20,000 |",
        f"| searches a second, whole instructions, none twice | "
        f"{rows['searches']['searches/wall']:,.0f} wall, "
        f"{rows['searches']['searches/cpu']:,.0f} per processor second | ≥ 2,000 |",
    ]
    for name, title in (("compare", "side by side"), ("stress", "stress")):
        if name in rows:
            row = rows[name]
            lines.append(
                f"| {title}: {row['products']:,} products, {row['file_gb']:.2f} GB of JSON, one pass | "
                f"{row['peak_mb'] / 1024:.2f} GB peak, {row['wall_s']:.0f} s ({row['cpu_s']:.0f} s of "
                f"processor) | " + ("< 8 GB |" if name == "stress" else "|")
            )
            if name == "compare":
                ratio = rows["whole"]["peak_mb"] / rows["compare"]["peak_mb"]
                lines.append(
                    f"| … by `json.load`, all fields kept | {rows['whole']['peak_mb'] / 1024:.2f} "
                    f"GB peak "
                    f"({ratio:.1f} times as much) | |"
                )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="where to write the table")
    parser.add_argument("--stress", type=int, default=0, help="products of the stress file; 0 leaves it out")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/stress"), help="where its files are written"
    )
    parser.add_argument("--compare", type=int, default=0, help="products of a file that json.load reads too")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--arg", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        measure = globals()[args.only]
        print(json.dumps(measure(args.arg) if args.arg else measure()))
        return
    rows = {name: run(name) for name in ("many", "steps", "searches")}
    for name, products in (("compare", args.compare), ("stress", args.stress)):
        if products:
            write_stress(args.folder, products)
            rows[name] = run("load", "--arg", str(args.folder))
            if name == "compare":
                rows["whole"] = run("whole", "--arg", str(args.folder))
            for path in args.folder.iterdir():
                path.unlink()
    page = table(rows)
    print(page)
    if args.out:
        args.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
