"""Commands and sweeps ask which machine this is; the rooms below are told."""

import re
from pathlib import Path

import pytest

from arch import config
from arch.registry import ConfigurationError
from arch.training.program import build

ARCH = Path(__file__).parents[1] / "arch"
ASKS = re.compile(r"default_backend|jax\.devices\(|local_devices|local_device_count")
ALLOWED = ("commands", "sweeps")


def test_no_room_below_commands_and_sweeps_asks_jax_which_device_this_process_has():
    asking = {
        str(path.relative_to(ARCH))
        for path in ARCH.rglob("*.py")
        if path.relative_to(ARCH).parts[0] not in ALLOWED and ASKS.search(path.read_text())
    }
    assert not asking


def test_a_path_that_the_platform_does_not_have_is_refused_before_anything_compiles():
    sublayer = {"kind": "attention", "heads": 4, "path": "cudnn"}
    made = config.make(
        model={"width": 32, "order": "sf", "sublayers": {"s": sublayer}},
        task={"kind": "algorithmic", "format": "decoder"},
    )
    build(made, "gpu")
    message = "model.sublayers.s.path='cudnn' needs an NVIDIA GPU, this is tpu"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        build(made, "tpu")
