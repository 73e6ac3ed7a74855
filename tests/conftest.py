"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Generated games go to a folder of this session."""
    before = os.environ.get("SIRI_CACHE")
    os.environ["SIRI_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["SIRI_CACHE"]
    else:
        os.environ["SIRI_CACHE"] = before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder's path that does not exist yet."""
    return tmp_path / "run"
