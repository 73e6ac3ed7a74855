"""The report in a real browser: of a finished run, an interrupted one, two together, and a hostile one."""

from __future__ import annotations

import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from siri.cli.consoles import PlainConsole
from siri.cli.prompts import PromptView
from siri.progress import Bars
from siri.report import Server, page, write_report
from siri.report.episodes import fitting
from siri.runs import Run
from siri.skills import SkillBank
from tests.report.browser import chromium, opened
from tests.runs.test_rollouts import CONFIG, carried_out
from tests.smoke import siri

SECTIONS = ("curves", "stages", "skills", "episodes", "events", "settings")
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \x1b[31m\u202eevil & 'quoted'"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return carried_out(tmp_path_factory.mktemp("report") / "finished")


@pytest.fixture(scope="module")
def cut(finished: Run) -> Run:
    """The run as a kill in phase 1 would have left it: no summary, no model, half a line at the end."""
    path = finished.path.parent / "cut"
    shutil.copytree(finished.path, path, ignore=shutil.ignore_patterns("model", "summary.json"))
    kept = 1 + [phase.value for phase in finished.phases].index("mining")
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        lines = (path / name).read_text().splitlines(keepends=True)
        rows = [line for line in lines if json.loads(line).get("iteration", 0) < kept]
        (path / name).write_text("".join(rows) + lines[-1][:40])
    return Run.open(path)


@pytest.fixture(scope="module")
def hostile(finished: Run) -> Run:
    """The run with skills, goals, observations and commands that would do harm as markup or on a terminal."""
    path = finished.path.parent / "hostile"
    shutil.copytree(finished.path, path, ignore=shutil.ignore_patterns("model"))
    rows = []
    for line in (path / "rollouts.jsonl").read_text().splitlines():
        row = json.loads(line)
        row["prompt"] = [["user", f"{HOSTILE}{row.get('block', '')}{HOSTILE}"]]
        for episode in row.get("episodes", ()):
            (episode if row["type"] == "evaluation" else row)["task"]["goal"] = HOSTILE
            episode["final"] = HOSTILE
            for turn in episode["turns"]:
                turn |= {"observation": HOSTILE, "text": HOSTILE, "action": HOSTILE}
        rows.append(json.dumps(row))
    (path / "rollouts.jsonl").write_text("\n".join(rows) + "\n")
    bank = SkillBank()
    bank.put(
        replace(record, skill=replace(record.skill, strategy=HOSTILE)) for record in finished.skills.records()
    )
    bank.save(path / "skills.json")
    return Run.open(path)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def written(runs: list[Run], folder: Path) -> Path:
    write_report(runs, folder / "report.html")
    return folder / "report.html"


def healthy(shown: Any, seen: Any) -> None:
    """Every section has content, nothing failed, and nothing but the file itself was asked for."""
    assert seen.errors == []
    assert [url for url in seen.requests if not url.startswith(("data:", "file:", "http://127.0.0.1"))] == []
    assert len(seen.requests) - sum(url.startswith("data:") for url in seen.requests) == 1
    for name in SECTIONS:
        assert len(shown.locator(f"#{name}").inner_text()) > 20, name


# a key press and a filter in one breath: the event of the new link comes after both
PRESS_AND_FILTER = """() => new Promise((done) => {
  addEventListener("hashchange", () => setTimeout(done), { once: true });
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
  const words = document.querySelector("[name=words]");
  words.value = "no such words anywhere";
  words.dispatchEvent(new Event("input", { bubbles: true }));
})"""


def test_a_finished_run_in_a_browser(finished: Run, browser: Any, tmp_path: Path) -> None:
    path = written([finished], tmp_path)
    assert path.stat().st_size < 3_000_000
    for scheme in ("light", "dark"):
        shown, seen = opened(browser, path, scheme=scheme)
        healthy(shown, seen)
        assert shown.locator("#charts .uplot").count() >= 5
        assert shown.locator("#stages tbody tr").count() >= 4
        shown.close()
    shown, seen = opened(browser, path)
    links = shown.locator("#list a")
    every = links.count()
    assert every > 3
    shown.select_option("[name=arm]", "skill")
    skilled = links.count()
    assert 0 < skilled < every
    shown.select_option("[name=arm]", "")
    shown.select_option("[name=outcome]", "won")
    won = links.count()
    shown.select_option("[name=outcome]", "lost")
    assert won + links.count() >= every
    shown.select_option("[name=outcome]", "")
    shown.select_option("[name=when]", "iteration 0")
    assert 0 < links.count() < every
    shown.fill("[name=words]", "no such words anywhere")
    assert links.count() == 0
    # the keyboard
    shown.fill("[name=words]", "")
    shown.select_option("[name=when]", "")
    here = "location.hash"
    shown.evaluate("document.activeElement.blur()")
    shown.keyboard.press("j")
    assert shown.evaluate(here) == "#pair-0-0"
    shown.keyboard.press("j")
    assert shown.evaluate(here) == "#pair-0-1"
    shown.keyboard.press("k")
    assert shown.evaluate(here) == "#pair-0-0"
    # a pair that the filters leave out does not stay open
    assert shown.locator("#pair .arm").count() > 0
    shown.fill("[name=words]", "no such words anywhere")
    assert shown.locator("#pair .arm").count() == 0
    assert "No pair fits" in shown.locator("#pair").inner_text()
    # and can be opened again by its link
    shown.fill("[name=words]", "")
    shown.click("#list a[href='#pair-0-0']")
    assert shown.locator("#pair .arm").count() > 0
    # nor does a key press open it that the browser tells of after the filters
    shown.evaluate(PRESS_AND_FILTER)
    assert shown.locator("#pair .arm").count() == 0
    shown.fill("[name=words]", "")
    # the other theme, by hand
    back = "getComputedStyle(document.body).backgroundColor"
    before = shown.evaluate(back)
    shown.click("#theme")
    assert shown.evaluate(back) != before
    assert seen.errors == []


def test_a_pair_and_a_skill_open_by_link(finished: Run, browser: Any, tmp_path: Path) -> None:
    path = written([finished], tmp_path)
    data = json.loads(re.search(r'id="data">(.*?)</script>', path.read_text())[1])  # type: ignore[index]
    pairs = data["runs"][0]["pairs"]
    place = next(n for n, pair in enumerate(pairs) if len(pair["arms"]) == 2 and pair["block"])
    shown, seen = opened(browser, f"{path.as_uri()}#pair-0-{place}")
    assert shown.locator("#pair .arm").count() == 2
    # inside the prompt that the skill arm read, and nowhere in the plain arm's
    assert "search the desk first" in shown.locator("#pair .arm.skill .prompt mark").inner_text()
    assert shown.locator("#pair .arm.plain mark").count() == 0
    whole = [shown.locator(f"#pair .arm.{arm} .prompt pre").text_content() for arm in ("plain", "skill")]
    assert whole[1].replace(pairs[place]["block"], "") == whole[0]
    assert len(whole[1]) > len(whole[0])
    [record] = finished.skills.records()
    other, more = opened(browser, f"{path.as_uri()}#skill-0-{record.skill.id}")
    details = other.locator(f"#skill-0-{record.skill.id}")
    assert details.get_attribute("open") is not None
    assert details.locator(".uplot").count() == 1
    assert "search the desk first" in details.inner_text()
    details.locator("button.seen").click()
    assert 0 < other.locator("#list a").count() < len(pairs)
    assert seen.errors == more.errors == []


def test_an_interrupted_run_and_two_runs(finished: Run, cut: Run, browser: Any, tmp_path: Path) -> None:
    shown, seen = opened(browser, written([cut], tmp_path))
    healthy(shown, seen)
    assert "interrupted, in mining" in shown.locator("main").inner_text()
    shown, seen = opened(browser, written([finished, cut], tmp_path))
    healthy(shown, seen)
    assert "Settings that differ" in shown.locator("#comparison").inner_text()
    assert shown.locator("[name=run] option").count() == 3


def test_hostile_text_is_shown_and_does_nothing(hostile: Run, browser: Any, tmp_path: Path) -> None:
    path = written([hostile], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e"} & set(text)
    shown, seen = opened(browser, path)
    healthy(shown, seen)
    assert seen.dialogs == []
    assert shown.locator("img").count() == 0
    assert "<script>alert(1)</script>" in shown.locator("#pair").inner_text()
    assert "\\x1b[31m\\u202eevil" in shown.locator("#pair").inner_text()
    assert "onerror" in shown.locator("#skills").inner_text()


def test_without_a_browser_the_page_is_whole_and_small(finished: Run, cut: Run, hostile: Run) -> None:
    for runs in ([finished], [cut], [finished, cut], [hostile]):
        text = page(runs)
        assert len(text.encode()) < 3_000_000
        scripts = re.findall(r"<script(?: [^>]*)?>", text)
        assert len(scripts) == 3
        assert not re.search(r"""(?:src|href)=["'](?!#|data:)""", text)
        for name in SECTIONS:
            assert f'id="{name}"' in text
    assert "left out" in page([finished], budget=5_000)


def test_a_run_of_0_1_0_has_a_page() -> None:
    old = Path(__file__).parents[1] / "runs" / "data" / "0.1.0" / "finished"
    assert "search the desk first" in page([Run.open(old)])


def test_script_stays_within_its_budget() -> None:
    assets = Path(__file__).parents[2] / "src" / "siri" / "report" / "assets"
    assert sum(path.stat().st_size for path in assets.glob("*.js")) < 300_000
    assert "MIT" in (assets / "LICENSE-uPlot").read_text()


def test_a_budget_takes_episodes_from_the_whole_run() -> None:
    every = [{"n": n, "text": "x" * 100} for n in range(100)]
    some = [row["n"] for row in fitting(every, 1500)]
    assert some == sorted(some)
    assert 5 < len(some) < 20
    assert some[0] == 0
    assert some[-1] > 60
    assert fitting(every, 10**6) == every


def test_the_server_is_fresh_and_for_this_machine_alone(cut: Run) -> None:
    with Server([cut.path], port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            with urllib.request.urlopen(server.url) as answer:
                first = answer.read().decode()
            assert re.search('data-live="[0-9a-f]{16}"', first)
            (cut.path / "metrics.jsonl").open("a").close()
            other = urllib.request.Request(server.url, headers={"Host": "evil.example:80"})
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(other)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(server.url + "config.json")
        finally:
            server.shutdown()
            thread.join()


def test_the_server_follows_a_run_that_goes_on(cut: Run, browser: Any) -> None:
    """A line that the run writes shows in the open page, without a hand; what was chosen stays chosen."""
    path = cut.path.parent / "going"
    shutil.copytree(cut.path, path)
    with Server([path], port=0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            shown, seen = opened(browser, server.url)
            shown.select_option("[name=arm]", "plain")
            shown.evaluate("document.activeElement.blur()")
            assert "a message of the run" not in shown.locator("#events").inner_text()
            metrics = path / "metrics.jsonl"
            whole = metrics.read_text()[: metrics.read_text().rindex("\n") + 1]
            last = json.loads(whole.splitlines()[-1])
            news = last | {"iteration": last["iteration"] + 1, "events": ["a message of the run"]}
            metrics.write_text(whole + json.dumps(news) + "\n")
            shown.locator("#events", has_text="a message of the run").wait_for()
            assert shown.input_value("[name=arm]") == "plain"
            assert "following" in shown.inner_text("#live")
            shown.click("#live")
            assert "paused" in shown.inner_text("#live")
            assert seen.errors == []
            assert all(url.startswith((server.url, "data:")) for url in seen.requests)
            # the same line on the server that is not asked for the page
            with urllib.request.urlopen(server.url + "stamp") as answer:
                assert len(answer.read()) == 16
            shown.close()
        finally:
            server.shutdown()
            thread.join()


def test_hostile_text_on_the_terminal(
    hostile: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither lists nor comparisons nor lines of progress let a control character through."""
    [record] = hostile.skills.records()
    for arguments in (
        ("skills", hostile.path),
        ("skills", "show", hostile.path, record.skill.id),
        ("skills", "diff", hostile.path, hostile.path),
        ("compare", hostile.path, hostile.path),
    ):
        assert siri(monkeypatch, *arguments) == 0
        shown = capsys.readouterr()
        assert not {"\x1b", "\u202e"} & set(shown.out + shown.err), arguments
        if arguments[0] == "skills":
            assert "onerror" in "".join(shown.out.split()), arguments
    out = StringIO()
    console = PlainConsole(file=out, force_terminal=True, width=200)
    with Bars(console) as bars:
        bars.say(HOSTILE, HOSTILE)
        bars.whole(1, 2, HOSTILE)
        bars.begin(HOSTILE, 3)
        bars._live.refresh()
    PromptView(HOSTILE).text(f"before {HOSTILE} after", "tokens")
    assert "\x1b[31m\u202e" not in out.getvalue()
    assert "\\x1b[31m\\u202eevil" in out.getvalue()
    assert "\x1b" not in capsys.readouterr().out


def test_the_command_writes_it(
    cut: Run,
    finished: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "both.html"
    assert siri(monkeypatch, "report", finished.path, cut.path, "--out", target) == 0
    assert "Comparison" in target.read_text()
    assert siri(monkeypatch, "report", cut.path) == 0
    assert (cut.path / "report.html").exists()
    assert siri(monkeypatch, "report", tmp_path) == 2
    assert siri(monkeypatch, "report", cut.path, "--out", tmp_path) == 2
    assert CONFIG.episodes.groups == 1
    capsys.readouterr()
