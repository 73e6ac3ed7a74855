"""The front door: its names are exactly those it says, and looking at it costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import types

import siri


def test_all_is_the_namespace() -> None:
    found = {name: getattr(siri, name) for name in siri.__all__}
    assert len(siri.__all__) == len(set(siri.__all__))
    assert 30 <= len(siri.__all__) <= 40
    assert dir(siri) == sorted(siri.__all__)
    public = {
        name
        for name, value in vars(siri).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public - {"annotations", "import_module", "TYPE_CHECKING", "Any"} == set(found) - {"__version__"}
    assert all(value is not None for value in found.values())


def test_rooms_are_attributes() -> None:
    assert siri.skills.ChatWriter is siri.ChatWriter
    assert siri.algos.labels is siri.labels
    for room in siri._ROOMS:
        assert isinstance(getattr(siri, room), types.ModuleType)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(siri, "no_such_name")


def test_a_world_can_be_written_without_loading_torch() -> None:
    code = (
        "import json, sys, siri\n"
        "siri.info(anchor=1); siri.Task; siri.Skill; siri.preset('smoke'); siri.ConfigError\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"torch", "transformers"}.isdisjoint(json.loads(result.stdout))
