"""Settings of the property tests here."""

from __future__ import annotations

from hypothesis import settings

# how long an example takes depends on what else the machine does, and is no property of the code
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
