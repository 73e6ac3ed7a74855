"""Pages, clickables and transitions, string by string."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.envs.webshop import Catalog, Page, SearchIndex, Session, build_goals, bundled_catalog, parse_action
from siri.envs.webshop.pages import Mode

from .shop import goal, product, session

I = "Find me canvas shoes with rubber sole, and price lower than 40.00 dollars"  # noqa: E741
HEAD = f"Instruction: [SEP] {I} [SEP] Back to Search"


@pytest.mark.parametrize(
    ("action", "parsed"),
    [
        ("search[a] b", ("search", "a")),
        ("I do search[a]", ("I do search", "a")),
        ("click[x] [y]", ("click[x] ", "y")),
        ("search[a]]", ("search", "a]")),
        ("search[[a]", ("search[", "a")),
        ("search[]", ("search[]", None)),
        ("search[a\nb]", ("search[a\nb]", None)),
        ("think\nsearch[a]", ("think\nsearch[a]", None)),
        (" search[a]", (" search", "a")),
        ("Search[x]", ("Search", "x")),
        ("search[ Big A ]", ("search", " big a ")),
        ("", ("", None)),
    ],
)
def test_parsing(action: str, parsed: tuple[str, str | None]) -> None:
    assert parse_action(action) == parsed


@pytest.mark.parametrize(
    "action",
    [
        "I do search[a]",
        "click[x] [y]",
        "search[[a]",
        "search[]",
        "search[a\nb]",
        "think\nsearch[a]",
        " search[a]",
        "Search[x]",
        "click[search]",
        "click[buy now]",
        "click[next >]",
        "buy",
        "",
    ],
)
def test_what_is_impossible_changes_nothing(action: str) -> None:
    shop = session(product())
    before = (shop.anchor, shop.observe())
    assert not shop.act(action)
    assert (shop.anchor, shop.observe()) == before


OPTIONS = {"color": ("navy blue", "red"), "size": ("8 | 9", "10")}


def full(**changes: object) -> Session:
    return session(
        product(
            options=OPTIONS,
            description=" A <b> & shoe. ",
            bullets=("Rubber sole.", "", " Light "),
            attributes=("soft", "warm"),
            **changes,
        )
    )


def at_item(**options: object) -> Session:
    shop = session(product(options=OPTIONS, bullets=("one", ""), attributes=("soft",)), **options)
    shop.act("search[shoes]")
    shop.act("click[b000000001]")
    return shop


def test_text_of_every_page() -> None:
    shop = full()
    assert shop.observe() == f"WebShop [SEP] Instruction: [SEP] {I} [SEP] Search"
    shop.act("search[Shoes]")
    assert shop.observe() == (
        f"{HEAD} [SEP] Page 1 (Total results: 1) [SEP] Next > [SEP] B000000001 [SEP] Acme Canvas "
        f"Shoes [SEP] $19.99"
    )
    shop.act("click[B000000001]")
    item = (
        f"{HEAD} [SEP] < Prev [SEP] color [SEP] navy blue [SEP] red [SEP] size [SEP] 8 | 9 [SEP] 10 [SEP] "
        "Acme Canvas Shoes [SEP] Price: $19.99 [SEP] Rating: N.A. [SEP] Description [SEP] Features "
        "[SEP] Reviews"
        " [SEP] Buy Now"
    )
    assert shop.observe() == item
    shop.act("click[red]")
    assert shop.observe() == item  # text does not show what is selected
    shop.act("click[description]")
    assert shop.observe() == f"{HEAD} [SEP] < Prev [SEP] A <b> & shoe."
    shop.act("click[< prev]")
    shop.act("click[features]")
    assert shop.observe() == f"{HEAD} [SEP] < Prev [SEP] Rubber sole. [SEP]  [SEP] Light"
    shop.act("click[< prev]")
    shop.act("click[reviews]")
    assert shop.observe() == f"{HEAD} [SEP] < Prev"
    shop.act("click[< prev]")
    shop.act("click[buy now]")
    assert shop.observe() == (
        "Thank you for shopping with us! [SEP] Your code: [SEP] None [SEP] (Paste it in your MTurk "
        "interface.) [SEP] "
        'Purchased [SEP] asin [SEP] B000000001 [SEP] options [SEP] {"color": "red"} [SEP] attrs '
        "[SEP] None [SEP] "
        "category [SEP] None [SEP] query [SEP] None [SEP] product category [SEP] None [SEP] Target "
        "[SEP] asin [SEP] "
        "options [SEP] attrs [SEP] price upper [SEP] instuction text [SEP] category [SEP] product "
        "category [SEP] query"
        " [SEP] Goal [SEP] None [SEP] Reward [SEP] Your score (min 0.0, max 1.0) [SEP] 1.0 [SEP] "
        "Reward Details [SEP] "
        "None"
    )


def test_an_empty_last_bullet_leaves_a_separator() -> None:
    shop = at_item()
    shop.act("click[features]")
    assert shop.observe() == f"{HEAD} [SEP] < Prev [SEP] one [SEP] "


@pytest.mark.parametrize(
    ("description", "rest"),
    [("", ""), (" \n ", ""), ("  ", " [SEP] "), ("a\n b", " [SEP] a\n b"), ("\xa0", " [SEP] ")],
)
def test_white_space(description: str, rest: str) -> None:
    shop = session(product(description=description))
    for action in ("search[shoes]", "click[b000000001]", "click[description]"):
        shop.act(action)
    assert shop.observe() == f"{HEAD} [SEP] < Prev{rest}"


def test_attributes_page() -> None:
    shop = at_item(show_attributes=True)
    assert list(shop.clickables)[:7] == [
        "back to search",
        "< prev",
        "description",
        "features",
        "reviews",
        "attributes",
        "buy now",
    ]
    assert " [SEP] Reviews [SEP] Attributes [SEP] Buy Now" in shop.observe()
    shop.act("click[attributes]")
    assert (
        shop.observe()
        == f"{HEAD} [SEP] < Prev [SEP] soft [SEP] fashion [SEP] canvas shoes [SEP] Shoes › Men › Sneakers"
    )
    assert shop.observe("text_rich").endswith(
        "[button] < Prev [button_]\n soft\nfashion\ncanvas shoes\nShoes › Men › Sneakers\n"
    )


def test_rich_text() -> None:
    shop = at_item()
    shop.act("click[red]")
    assert shop.observe("text_rich") == (
        f"You have clicked red.\nInstruction:\n{I}\n[button] Back to Search [button_]\n[button] < "
        f"Prev [button_]\n"
        "color\n  [button] navy blue [button_]\n  [clicked button] red [clicked button_]\n"
        "size\n  [button] 8 | 9 [button_]\n  [button] 10 [button_]\n"
        "Acme Canvas Shoes\nPrice: $19.99\nRating: N.A.\n"
        "[button] Description [button_]\n[button] Features [button_]\n[button] Reviews [button_]\n"
        "[button] Buy Now [button_]\n"
    )
    shop.act("click[10]")
    assert shop.observe("text_rich").startswith("You have clicked 10.\nYou have clicked red.\nInstruction:\n")
    shop.act("click[features]")
    assert shop.observe("text_rich").endswith("[button] < Prev [button_]\n one\n \n")
    shop.act("click[< prev]")
    shop.act("click[< prev]")
    assert shop.observe("text_rich") == (
        f"Instruction:\n{I}\n[button] Back to Search [button_]\nPage 1 (Total results: 1)\n[button] "
        f"Next > [button_]\n"
        "\n[clicked button] B000000001 [clicked button_]\nAcme Canvas Shoes\n$19.99\n"
    )
    shop.act("click[back to search]")
    assert shop.observe("text_rich") == f"WebShop\nInstruction: \n{I}\n[button] Search [button_]\n"
    shop.act("search[shoes]")
    assert "\n\n[button] B000000001 [button_]\n" in shop.observe("text_rich")  # visits are forgotten


def test_what_looks_selected_in_rich_text() -> None:
    """Upstream seeks the quoted value in the address: other values may match, some never do."""
    options = {"color": ("café", 'big "x"', "both"), "size": ("both", "color")}
    shop = session(product(options=options))
    shop.act("search[shoes]")
    shop.act("click[b000000001]")
    for value in ("café", 'big "x"'):
        shop.act(f"click[{value}]")
        assert shop.options["color"] == value
        assert "You have clicked café" not in shop.observe("text_rich")
        assert "You have clicked big" not in shop.observe("text_rich")
    assert "You have clicked color." in shop.observe("text_rich")  # the name of the option that is selected
    shop.act("click[both]")
    assert shop.options == {"color": 'big "x"', "size": "both"}
    assert shop.observe("text_rich").count("You have clicked both.") == 2


def test_done_page_escapes_as_flask_does() -> None:
    shop = session(product(options={"b": ("<x> & 'y'",), "a": ("é",)}))
    for action in ("search[shoes]", "click[b000000001]", "click[<x> & 'y']", "click[é]", "click[buy now]"):
        assert shop.act(action)
    text = r"options [SEP] {" + r'"a": "\u00e9", "b": "\u003cx\u003e \u0026 \u0027y\u0027"} [SEP] attrs'
    assert text in shop.observe()


def test_clickables_in_order() -> None:
    shop = at_item()
    wanted = ["back to search", "< prev", "description", "features", "reviews", "buy now"]
    assert list(shop.clickables) == [*wanted, "navy blue", "red", "8 | 9", "10"]
    shop.act("click[reviews]")
    assert list(shop.clickables) == ["back to search", "< prev"]
    assert not shop.has_search_bar
    shop.act("click[back to search]")
    assert list(shop.clickables) == ["search"]
    assert shop.has_search_bar


def test_repeated_names() -> None:
    """A repeated key keeps its first place and takes its last element; a button's name still acts as the
    button.
    """
    options = {"color": ("plain", "features"), "style": ("plain", "buy now", "< prev", "next >")}
    shop = session(product(options=options))
    shop.act("search[shoes]")
    shop.act("click[b000000001]")
    names = ["back to search", "< prev", "description", "features", "reviews", "buy now", "plain", "next >"]
    assert list(shop.clickables) == names
    shop.act("click[plain]")
    assert shop.options == {"style": "plain"}
    shop.act("click[next >]")  # a button on results only
    assert (shop.page, shop.options) == (Page.ITEM, {"style": "next >"})
    shop.act("click[features]")
    assert (shop.page, shop.options) == (Page.FEATURES, {"style": "next >"})
    shop.act("click[< prev]")
    assert shop.options == {"style": "next >"}
    shop.act("click[buy now]")
    assert shop.done


def test_options_overwrite_and_are_kept_until_the_item_is_left() -> None:
    shop = at_item()
    for value in ("red", "navy blue", "10"):
        shop.act(f"click[{value}]")
    assert shop.options == {"color": "navy blue", "size": "10"}
    shop.act("click[description]")
    shop.act("click[< prev]")
    assert shop.options == {"color": "navy blue", "size": "10"}
    shop.act("click[< prev]")
    assert (shop.page, shop.options, shop.product) == (Page.RESULTS, {}, None)


def many(count: int = 23) -> Session:
    return session(*[product(asin=f"B{n:09d}", title=f"Shoes {n}") for n in range(count)])


def test_paging() -> None:
    shop = many()
    shop.act("search[shoes]")
    assert list(shop.clickables)[:2] == ["back to search", "next >"]
    assert len(shop.clickables) == 12
    shop.act("click[next >]")
    assert "Page 2 (Total results: 23) [SEP] < Prev [SEP] Next > [SEP] B0000000" in shop.observe()
    shop.act("click[next >]")
    assert len(shop.clickables) == 3 + 3
    shop.act("click[next >]")  # past the end: an empty list under the same total
    assert shop.observe() == f"{HEAD} [SEP] Page 4 (Total results: 23) [SEP] < Prev [SEP] Next >"
    shop.act("click[next >]")
    assert "Page 5 (Total results: 23)" in shop.observe()
    for page in (4, 3, 2):
        shop.act("click[< prev]")
        assert f"Page {page} (" in shop.observe()
    link = next(name for name, element in shop.clickables.items() if element == "asin")
    shop.act(f"click[{link}]")
    shop.act("click[< prev]")
    assert shop.number == 2  # back on the page where it was


def test_search_is_possible_on_any_page_even_after_the_purchase() -> None:
    shop = at_item()
    shop.act("click[red]")
    shop.act("click[reviews]")
    assert shop.act("search[shoes]")
    assert (shop.page, shop.number, shop.options, shop.product) == (Page.RESULTS, 1, {}, None)
    shop.act("click[b000000001]")
    shop.act("click[buy now]")
    assert shop.done
    assert list(shop.clickables) == []
    assert not shop.act("click[back to search]")
    assert shop.act("search[shoes]")
    assert shop.page is Page.RESULTS


def test_back_to_search_forgets_all_but_the_goal() -> None:
    shop = at_item()
    shop.act("click[red]")
    shop.act("click[back to search]")
    assert shop.anchor == ("index", (), 0, None, ())
    assert not shop.visited
    assert not shop.actions


@pytest.mark.parametrize("query", ["the of and", "zebra", "!!!", "<a> x"])
def test_no_hits(query: str) -> None:
    shop = session(product())
    shop.act(f"search[{query}]")
    assert shop.observe() == f"{HEAD} [SEP] Page 1 (Total results: 0) [SEP] Next >"


def test_keywords_are_split_at_single_spaces() -> None:
    shop = session(product())
    shop.act("search[ Canvas  shoes]")
    assert shop.keywords == ("", "canvas", "", "shoes")


def test_reward_of_the_purchase() -> None:
    shop = session(product(options={"size": ("8", "9")}, price=50.0), wanted=goal(options=(("size", "9"),)))
    for action in ("search[shoes]", "click[b000000001]", "click[9]", "click[buy now]"):
        shop.act(action)
    assert shop.reward is not None
    assert shop.reward.total == 2 / 3  # attribute and option, not the price


TINY = bundled_catalog("tiny")
INDEX = SearchIndex.build(TINY)
GOALS = build_goals(TINY)


@given(st.data(), st.sampled_from(["text", "text_rich"]))
def test_random_walks(data: st.DataObject, mode: Mode) -> None:
    """Whatever is clickable can be clicked, observing changes nothing, and the instruction stays in sight."""
    shop = Session(INDEX, data.draw(st.sampled_from(GOALS)))
    for _ in range(12):
        names = [f"click[{name}]" for name in shop.clickables if name != "search"]
        action = data.draw(st.sampled_from([*names, f"search[{shop.goal.query}]"]))
        assert shop.allows(action)
        assert shop.act(action)
        anchor = shop.anchor
        text = shop.observe(mode)
        assert shop.observe(mode) == text
        assert shop.anchor == anchor
        assert (shop.goal.instruction in text) is not shop.done
        if shop.done:
            break


def test_a_catalogue_without_words() -> None:
    shop = Session(SearchIndex.build(Catalog((product(title="", description="", options={}),))), goal())
    shop.act("search[shoes]")
    assert "Total results: 0" in shop.observe()
