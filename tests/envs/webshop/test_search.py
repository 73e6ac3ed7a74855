"""Search: the analyzer by hand, the scores against BM25 written from its formula."""

from __future__ import annotations

import json
from collections import Counter
from math import log
from pathlib import Path

import pytest

from siri.envs.webshop import Catalog, SearchIndex, bundled_catalog
from siri.envs.webshop.search import analyze, document
from siri.errors import CatalogError, MissingExtra

from .shop import product


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Women's shoes", "women shoe"),
        ("it’s a T-shirt", "t shirt"),
        ("3.5mm 1,000 d.o.n. 12.5", "3.5mm 1,000 d.o.n 12.5"),
        ("machine-washable running", "machin washabl run"),
        ("generously generosity", "gener generos"),  # Porter, not Porter 2
        ("o'neill's color: red", "o'neil color red"),
        ("the of and", ""),
        ("black | white", "black white"),
        ("Ünïcode naïve", "ünïcode naïv"),
    ],
)
def test_analysis(text: str, terms: str) -> None:
    assert analyze(text) == terms.split()


def test_what_is_indexed() -> None:
    options = {"color": ("red", "navy blue"), "size": ("8",)}
    found = document(
        product(title="Shoe", description="Good.", bullets=("First.", "Second."), options=options)
    )
    assert found == "shoe good. first. color: red, navy blue, and size: 8"
    assert document(product(title="Shoe", description="", bullets=())) == "shoe   "


def bm25(catalog: Catalog, query: str) -> list[float]:
    """An oracle from the formula alone."""
    documents = [Counter(analyze(document(p))) for p in catalog.products]
    lengths = [sum(d.values()) for d in documents]
    mean, n = sum(lengths) / len(lengths), len(documents)
    scores = [0.0] * n
    for term in analyze(query):
        df = sum(term in d for d in documents)
        idf = log(1 + (n - df + 0.5) / (df + 0.5))
        for i, d in enumerate(documents):
            f = d[term]
            scores[i] += idf * f / (f + 0.9 * (1 - 0.4 + 0.4 * lengths[i] / mean)) if f else 0.0
    return scores


def test_scores_and_order_are_bm25s() -> None:
    catalog = bundled_catalog("tiny")
    index = SearchIndex.build(catalog)
    for query in ("easy clean lamps for the living room", "red red red shoes", "women's size large", "gift"):
        wanted = bm25(catalog, query)
        assert index.scores(query) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
        order = sorted(range(len(wanted)), key=lambda n: (-round(wanted[n], 5), catalog.products[n].asin))
        hits = [n for n in order if wanted[n] > 0][:50]
        assert [round(wanted[n], 5) for n in index.search(query)] == [round(wanted[n], 5) for n in hits]


def test_ties_go_by_id_not_by_position() -> None:
    names = [f"B{n:03d}" for n in (7, 3, 99, 1)] + [f"C{n:03d}" for n in range(80, 0, -1)]
    catalog = Catalog(tuple(product(asin=name) for name in names))
    found = [catalog.products[n].asin for n in SearchIndex.build(catalog).search("shoes")]
    assert found == sorted(names)[:50]


def test_a_repeated_word_counts_again() -> None:
    catalog = Catalog((product(asin="A", title="red shoe"), product(asin="B", title="blue shoe shoe")))
    index = SearchIndex.build(catalog)
    once, twice = index.scores("red"), index.scores("red red")
    assert twice[0] == pytest.approx(2 * once[0])
    assert once[1] == 0


def test_memory_of_queries() -> None:
    index = SearchIndex.build(Catalog((product(),)))
    assert index.search("shoes") is index.search("shoes")
    index.forget()
    assert index.search("shoes") == (0,)


def test_an_index_on_disk(tmp_path: Path) -> None:
    catalog = bundled_catalog("tiny")
    built = SearchIndex.build(catalog)
    built.save(tmp_path / "index")
    loaded = SearchIndex.load(tmp_path / "index", catalog)
    for query in ("lamp", "easy clean rugs", "zebra"):
        assert loaded.search(query) == built.search(query)
    with pytest.raises(CatalogError, match="expected one of"):
        SearchIndex.load(tmp_path / "index", bundled_catalog("tiny", seed=1))
    with pytest.raises(CatalogError, match="no readable index"):
        SearchIndex.load(tmp_path / "none", catalog)
    (tmp_path / "index" / "catalog.json").write_text(json.dumps("x"))
    with pytest.raises(CatalogError, match="build and save it again"):
        SearchIndex.load(tmp_path / "index", catalog)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingExtra, match=r"siri-rl\[webshop\]"):
        SearchIndex.build(Catalog((product(),)))
