"""What the machine says of itself, asked in one place."""

from types import SimpleNamespace

import jax
import pytest

from arch.runs import provenance
from arch.sweeps import machine


def test_device_is_the_platform_its_name_and_the_cores_of_this_process():
    found = machine.device()
    assert list(found) == ["device", "device_name", "cores"]
    assert found["device"] == machine.platform() == jax.default_backend()
    assert found["cores"] == provenance.cores()


@pytest.mark.parametrize(
    ("platform", "stats", "limit"),
    [
        ("cpu", {"bytes_limit": 7}, None),  # of a CPU all replicas are taken to fit
        ("gpu", {"bytes_limit": 7}, 7),
        ("gpu", {}, None),
        ("gpu", None, None),
    ],
)
def test_the_memory_limit_is_what_an_accelerator_says(monkeypatch, platform, stats, limit):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(memory_stats=lambda: stats)])
    assert machine.memory_limit() == limit
