"""What the tests of `arch.bench` share."""

from types import SimpleNamespace

import pytest

from arch.bench.peers import kinds


@pytest.fixture
def everything_installed(monkeypatch):
    there = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: object()))
    monkeypatch.setattr(kinds, "importlib", there)
