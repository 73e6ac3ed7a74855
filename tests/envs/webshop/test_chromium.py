"""The shop's pages in a real headless Chromium: a purchase as a person makes it, by typing and clicking."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from siri.envs.webshop import WebShop, build_goals, bundled_catalog
from siri.envs.webshop.browser import make_server

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_a_person_buys_what_is_asked_for(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
    shop = WebShop(bundled_catalog("tiny"), build_goals(bundled_catalog("tiny")))
    number, wanted = next((n, goal) for n, goal in enumerate(shop.goals) if len(goal.options) > 1)
    server = make_server(shop)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    refused: list[str] = []
    try:
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            page.on("console", lambda message: refused.append(message.text))
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            page.click(f'a[href="/goal/{number}"]')
            assert page.inner_text("h1") == wanted.instruction
            page.fill("input[name=q]", wanted.name)
            page.click("text=Search >> visible=true")
            assert "Page 1 (Total results:" in page.inner_text("body")
            page.click(f"a:text-is('{wanted.asin}')")
            for name, value in wanted.options:
                page.click(f'p:has-text("{name}:") >> a:text-is("{value}")')
                assert value in page.locator("a.on").all_inner_texts()
            assert page.locator("a.on").count() == len(wanted.options)
            page.screenshot(path=str(tmp_path / "item.png"))
            page.click("a:text-is('features')")
            page.click("a:text-is('< prev')")
            assert page.locator("a.on").count() == len(wanted.options)
            page.go_back()  # the browser's own button: the features again
            page.go_forward()
            page.click("a:text-is('buy now')")
            assert "Score 1.000" in page.inner_text("body")
            assert "Thank you for shopping with us!" in page.inner_text("body")
            page.screenshot(path=str(tmp_path / "done.png"))
            assert page.evaluate("document.compatMode") == "CSS1Compat"
            assert page.evaluate("getComputedStyle(document.body).display") == "grid"
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert [text for text in refused if "favicon" not in text and "404" not in text] == []
