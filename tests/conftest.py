"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.vllm_server import Served

# before torch is loaded: the number of threads changes sums, and one test's runs are compared with another's
os.environ.setdefault("OMP_NUM_THREADS", "1")


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


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real vLLM server; who uses it pushes the weights of its choice. Skips where vLLM is not installed."""
    pytest.importorskip("vllm", reason="needs vllm: make test-vllm")
    from tests.vllm_server import random_model, vllm_server, write

    folder = tmp_path_factory.mktemp("served")
    with vllm_server(write(*random_model(), folder / "model"), folder / "log") as served:
        yield served


@pytest.fixture(scope="session")
def vllm_url(served: Served) -> str:
    """The address of ``served``."""
    return served.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder's path that does not exist yet."""
    return tmp_path / "run"
