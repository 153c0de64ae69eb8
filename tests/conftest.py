"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A deadline measures the machine, not the code: a busy one fails it.
settings.register_profile("tsmodel", settings.default, deadline=None)
settings.load_profile("tsmodel")
