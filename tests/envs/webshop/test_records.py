from __future__ import annotations

import json
from pathlib import Path

import pytest

from siri.envs.webshop.records import read_list
from siri.errors import CatalogError


def test_half_a_character_is_named_with_its_product(tmp_path: Path) -> None:
    file = tmp_path / "items.json"
    file.write_text(json.dumps([{"asin": "B1", "name": "mug 🙂"}, {"asin": "B2", "name": "mug \ud83d"}]))
    with pytest.raises(CatalogError, match="half a character of product B2"):
        list(read_list(file))
