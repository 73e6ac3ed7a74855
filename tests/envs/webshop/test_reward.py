"""Section 3 of WebShop's reward, rule by rule, with hand-computed expectations."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siri.envs.webshop import nouns as extractors
from siri.envs.webshop.nouns import noun_extractor, rule_nouns
from siri.envs.webshop.reward import (
    COLORS,
    attribute_reward,
    fuzzy_match,
    normalize_color,
    option_reward,
    reward,
    training_reward,
    type_reward,
)
from siri.errors import ConfigError, MissingExtra

from .shop import goal, product


def words(title: str) -> tuple[str, ...]:
    return tuple(title.lower().split())


TEN = "a b c d e f g h i j"


@pytest.mark.parametrize(
    ("title", "query", "path", "value", "score"),
    [
        ("a b c d e f g h i j", "q", "A › B", 1.0, 1.0),
        ("a b c x", "other", "C › D", 1.0, 0.3),  # over 0.2: the title alone is enough
        ("a b x", "other", "C › D", 0.5, 0.2),  # 0.2 is not over 0.2
        ("a b x", "q", "C › D", 1.0, 0.2),  # the query alone is enough
        ("a b x", "other", "B › A", 1.0, 0.2),  # so are two categories, in any order
        ("a b x", "other", "A › C", 0.5, 0.2),  # one is not
        ("a x", "other", "C › D", 0.5, 0.1),  # 0.1 is not below 0.1
        ("x y z", "q", "A › B", 0.0, 0.0),  # nothing shared overrides query and category
    ],
)
def test_bands_of_the_type(title: str, query: str, path: str, value: float, score: float) -> None:
    bought = product(title=title, query=query, product_category=path)
    wanted = goal(name=TEN, query="q", product_category="A › B")
    found = type_reward(bought, wanted, nouns=words)
    assert (found.value, found.title_score) == (value, score)


def test_a_title_score_below_a_tenth() -> None:
    wanted = goal(name=f"{TEN} k l", query="q", product_category="A › B")
    found = type_reward(product(title="a x", query="q", product_category="A › B"), wanted, nouns=words)
    assert found.title_score == 1 / 12
    assert found.value == 0.1
    assert found.query_match
    assert found.category_match


def test_repeated_nouns_count_in_the_denominator_alone() -> None:
    found = type_reward(product(title="a b"), goal(name="a a b b b c"), nouns=words)
    assert found.title_score == 2 / 6
    assert type_reward(product(title="a b"), goal(name="a a b"), nouns=words).title_score == 2 / 3  # itself


def test_no_wanted_noun_is_a_fifth() -> None:
    found = type_reward(product(title="a", query="x", product_category=""), goal(name=""), nouns=words)
    assert (found.title_score, found.value) == (0.2, 0.5)


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("b › c › a", True),
        ("d › e › f", False),
        ("a › d › b", True),
        ("a › a › b", True),
        ("a › a › d", False),
    ],
)
def test_categories_are_a_set(path: str, match: bool) -> None:
    assert (
        type_reward(product(product_category=path), goal(product_category="a › b › c")).category_match
        is match
    )


def test_attributes_by_list_and_by_text() -> None:
    wanted = goal(attributes=("tea tree", "essential oils", "natural ingredients"))
    listed = product(attributes=("tea tree", "essential oil", "natural ingredients"))
    assert attribute_reward(listed, wanted) == (1.0, 3)  # "essential oil" is close enough: 96
    text = product(
        attributes=(),
        title="",
        bullets=("This shampoo has essential oils", "and smells"),
        description="Made with Natural Ingredients",
    )
    assert attribute_reward(text, wanted) == (2 / 3, 2)
    none = product(attributes=("tea bag",), title="English tea", bullets=("Calming",), description="lipton")
    assert attribute_reward(none, wanted) == (0.0, 0)


def test_an_attribute_is_not_lowered_before_it_is_sought() -> None:
    wanted = goal(attributes=("Machine Wash",))
    assert attribute_reward(product(attributes=(), title="machine wash"), wanted) == (0.0, 0)
    assert attribute_reward(product(attributes=("machine WASH",), title=""), wanted) == (1.0, 1)


def test_bullets_are_joined_by_a_space() -> None:
    wanted = goal(attributes=("oils and",))
    assert attribute_reward(product(attributes=(), bullets=("has oils", "and more")), wanted)[1] == 1


def test_upstreams_arithmetic() -> None:
    """2/3 = (1 attribute + 2 options + price) / 6, and so on; the figures of upstream's own test."""
    wanted = goal(
        attributes=("tea tree", "essential oils", "natural ingredients"),
        options=(("color", "grey"), ("size", "XL")),
        price_upper=40.0,
    )
    chosen = {"color": "grey", "size": "XL"}
    bought = product(attributes=("tea tree", "essential oil", "natural ingredients"), title=wanted.name)
    assert reward(bought, wanted, price=35, options=chosen).total == 1.0
    poor = product(attributes=(), title=wanted.name, description="made with natural ingredients")
    assert reward(poor, wanted, price=35, options=chosen).total == pytest.approx(4 / 6)
    more = goal(attributes=wanted.attributes, options=(*wanted.options, ("amount", "pack of 12")))
    assert reward(poor, more, price=35, options=chosen).total == pytest.approx(4 / 7)
    assert reward(poor, more, price=41, options=chosen).total == pytest.approx(3 / 7)
    half = goal(attributes=wanted.attributes, options=more.options, name=TEN, query="q", product_category="")
    other = product(attributes=(), title="a b", description="natural ingredients", product_category="")
    assert reward(other, half, price=35, options=chosen, nouns=words).total == pytest.approx(4 / 7 / 2)


def test_info_has_upstreams_names() -> None:
    wanted = goal(options=(("size", "8"),), attributes=("rubber sole", "x"))
    info = reward(product(), wanted, options={}).to_json(wanted)
    assert info["w_att"] == 2 / 4
    assert info["w_option"] == info["w_price"] == 1 / 4
    assert (info["r_att"], info["r_option"], info["r_price"], info["r_type"]) == (0.5, 0.0, True, 1.0)
    assert "r_option" not in reward(product(), goal()).to_json(goal())


@pytest.mark.parametrize(("price", "ok"), [(39.99, True), (40.0, True), (40.01, False)])
def test_the_bound_itself_is_in_bounds(price: float, ok: bool) -> None:
    assert reward(product(price=price), goal(price_upper=40.0)).price is ok


@pytest.mark.parametrize(
    ("option", "color"),
    [
        ("navy blue", "blue"),
        ("standard", "tan"),
        ("layered", "red"),
        ("Blue", "Blue"),  # case-sensitive
        ("dark green", "dark"),  # the first of the list, not of the word
        ("heather grey", "grey"),
        ("xl", "xl"),
        (("color", "blue"), "blue"),  # an element of the pair
        (("color", "navy blue"), ("color", "navy blue")),
        (("red", "x"), "red"),
    ],
)
def test_colors(option: object, color: object) -> None:
    assert normalize_color(option) == color  # type: ignore[arg-type]


def test_the_color_list() -> None:
    assert len(COLORS) == 102
    assert list(COLORS) == sorted(COLORS)
    assert (COLORS[0], COLORS[-1]) == ("alabaster", "yellow")


@pytest.mark.parametrize(
    ("wanted", "bought", "match"),
    [
        ("large", "x-large", True),
        (("size", "x-large"), "large", True),
        (("size", "large"), "x-large", False),
        ("navy blue", "sky blue", True),
        (("color", "navy blue"), "dark blue", True),
        ("8.5", "8", True),
        ("8", "8.5", True),
        (("size", "8.5"), "8", True),
        (("size", "8"), "9", False),
        ("pack of 12", "pack of 1", True),  # 18 of 19 characters: another number still matches
        (("style", "rustic"), "rustic", False),  # "rust" is a colour: a goal that nothing can satisfy
        ("grey", "gray", False),
    ],
)
def test_option_quirks(wanted: object, bought: str, match: bool) -> None:
    share, count = option_reward([bought], [wanted])  # type: ignore[list-item]
    assert (share, count) == (float(match), int(match))


def test_options_are_not_matched_by_name() -> None:
    wanted = goal(options=(("color", "red"), ("lace", "red")))
    assert reward(product(), wanted, options={"shade": "red"}).options == 1.0  # one value serves both


def test_option_lists() -> None:
    assert option_reward(["pack of 12", "grey", "XL"], ["grey", "XL", "pack of 12"]) == (1.0, 3)
    assert option_reward(["pack of 12", "blue", "XL"], ["grey", "XL", "pack of 12"]) == (2 / 3, 2)
    assert option_reward(["powder snow"], ["cool powder snow"]) == (1.0, 1)
    assert option_reward(["a"], []) == (None, 0)
    assert option_reward([], ["a", "b"]) == (0.0, 0)


@pytest.mark.parametrize(
    ("left", "right", "match"),
    [
        ("", "", False),
        ("!!", "!!", False),  # nothing is left of it
        ("é", "é", False),  # characters 128 to 255 are dropped
        ("café", "caf", True),
        ("machine wash", "WASH, machine", True),
        ("hand wash", "machine wash", False),
    ],
)
def test_token_set_ratio(left: str, right: str, match: bool) -> None:
    assert fuzzy_match(left, right) is match


@given(
    st.lists(st.sampled_from(["red", "blue", "8", "8.5", "large", "x-large", "navy"]), max_size=4),
    st.floats(1, 100),
)
def test_bounds(chosen: list[str], price: float) -> None:
    wanted = goal(options=(("color", "red"), ("size", "8.5")))
    options = {str(n): value for n, value in enumerate(chosen)}
    found = reward(product(), wanted, price=price, options=options)
    assert 0.0 <= found.total <= 1.0
    assert training_reward(found.total) == (10.0 if found.total == 1 else 0.0)


@pytest.mark.parametrize(
    ("title", "nouns"),
    [
        ("38mm Band for the Women's Watch", "mm band women watch"),
        ("T-Shirt Wide-Leg 3.1 12", "t shirt wide leg"),
        ("Listed Gold Earring, Running Shoe and Bedding", "listed gold earring shoe bedding"),
        ("UL Listed 4K Soundbar", "ul k soundbar"),
        ("Adidas D.O.N. Issue", "adidas d.o.n. issue"),
        ("", ""),
    ],
)
def test_the_rule_for_nouns(title: str, nouns: str) -> None:
    assert rule_nouns(title) == tuple(nouns.split())


def test_choosing_an_extractor() -> None:
    assert noun_extractor("rule") == (rule_nouns, "rule")
    with pytest.raises(ConfigError, match="nouns='tagger'"):
        noun_extractor("tagger")  # type: ignore[arg-type]


def test_spacy_is_asked_for_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extractors, "_spacy_nouns", lambda: None)
    assert noun_extractor("auto")[1] == "rule"
    with pytest.raises(MissingExtra, match="en_core_web_sm"):
        noun_extractor("spacy")
    monkeypatch.setattr(extractors, "_spacy_nouns", lambda: words)
    assert noun_extractor("auto") == (words, "spacy")


def test_a_real_spacy_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tagger trained here stands under the model's name: spaCy itself loads it and tags the titles."""
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed (extra webshop-spacy)")
    from spacy.training import Example
    from spacy.util import fix_random_seed

    fix_random_seed(0)
    pipeline = spacy.blank("en")
    pipeline.add_pipe("morphologizer")
    text = ["red", "Shoes", "for", "Acme", "fit", "Women"]
    tags = ["ADJ", "NOUN", "ADP", "PROPN", "VERB", "NOUN"]
    document = spacy.tokens.Doc(pipeline.vocab, words=text, pos=tags)
    examples = [Example(pipeline.make_doc(document.text), document)]
    optimizer = pipeline.initialize(lambda: examples)
    for _ in range(40):
        pipeline.update(examples, sgd=optimizer)
    pipeline.to_disk(tmp_path / "en_core_web_sm")
    monkeypatch.chdir(tmp_path)
    extractors._spacy_nouns.cache_clear()
    try:
        for name in ("auto", "spacy"):
            extract, used = noun_extractor(name)  # type: ignore[arg-type]
            assert used == "spacy"
            assert extract("red Shoes for Acme fit Women") == ("shoes", "acme", "women")
            assert extract("") == ()
        shoes = product(title="red Shoes for Acme fit Women")
        assert type_reward(shoes, goal(name="Shoes for Acme"), nouns=extract).title_score == 1.0
    finally:
        extractors._spacy_nouns.cache_clear()
