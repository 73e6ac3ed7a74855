"""The shop as web pages, through a real server and a plain client."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from html import unescape
from http.client import HTTPConnection

import pytest

from siri.envs.webshop import Catalog, WebShop, build_goals, bundled_catalog
from siri.envs.webshop.browser import make_server, shop_page

from .shop import goal, product

SHOP = WebShop(bundled_catalog("tiny"), build_goals(bundled_catalog("tiny")))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = make_server(SHOP)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def get(port: int, path: str, host: str | None = None) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def links(page: str) -> dict[str, str]:
    """Text → address of every link."""
    found = re.findall(r'<a(?: class="on")? href="([^"]*)">([^<]*)</a>', page)
    return {unescape(text): unescape(address) for address, text in found}


def test_a_purchase_by_links_alone(port: int) -> None:
    wanted = SHOP.goals[0]
    status, front = get(port, "/")
    assert status == 200
    page = get(port, links(front)["0"])[1]
    assert unescape(re.search(r"<h1>(.*?)</h1>", page)[1]) == wanted.instruction  # type: ignore[index]
    query = wanted.name.replace(" ", "+").replace("'", "%27")
    page = get(port, f"/goal/0?q={query}")[1]
    page = get(port, links(page)[wanted.asin])[1]
    for _, value in wanted.options:
        page = get(port, links(page)[value])[1]
        assert '<a class="on" href' in page
    page = get(port, links(page)["features"])[1]
    page = get(port, links(page)["< prev"])[1]
    page = get(port, links(page)["buy now"])[1]
    assert "Score 1.000" in page
    assert "w_price" in page


def test_the_form_keeps_what_was_done(port: int) -> None:
    page = get(port, "/goal/1?do=search%5Blamp%5D")[1]
    assert '<input type="hidden" name="do" value="search[lamp]">' in page
    page = get(port, "/goal/1?do=search%5Blamp%5D&q=rug")[1]
    assert page.count('type="hidden"') == 2


def test_the_agents_view_is_beside_it(port: int) -> None:
    page = unescape(get(port, "/goal/2?do=nonsense")[1])
    assert "! nonsense" in page
    assert f"WebShop [SEP] Instruction: [SEP] {SHOP.goals[2].instruction} [SEP] Search" in page
    assert "'search[<your query>]'," in page
    assert "You are now at step 2" in page


@pytest.mark.parametrize(
    "path", ["/goal/999999", "/goal/x", "/goal/-1", "/x/1", "/goal/1/2", f"/goal/{'9' * 99}"]
)
def test_what_is_not_there(port: int, path: str) -> None:
    assert get(port, path)[0] == 404


def test_another_page_of_goals(port: int) -> None:
    assert "/goal/51" in get(port, links(get(port, "/")[1])["from 50"])[1]


def test_only_for_this_machine(port: int) -> None:
    assert get(port, "/", host="evil.example:80")[0] == 403
    assert get(port, "/", host=f"localhost:{port}")[0] == 200


def test_products_cannot_write_html() -> None:
    evil = '<script>alert("x")</script>'
    shop = WebShop(
        Catalog((product(title=f"Shoes {evil}", options={evil: (evil.lower(),)}, bullets=(evil,)),)),
        [goal(base=evil)],
    )
    for actions in (
        [],
        ["search[shoes]"],
        ["search[shoes]", "click[b000000001]"],
        ["search[shoes]", "click[b000000001]", "click[features]"],
        [f"search[{evil}]", '"><script>'],
    ):
        page = shop_page(shop, 0, actions)
        assert "<script" not in page.lower()
