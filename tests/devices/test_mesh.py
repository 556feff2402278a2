"""A replica spread over devices is the replica on one device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from arch import config
from arch.devices import mesh
from arch.devices.mesh import Sizes
from arch.devices.sharding import Rule, Rules
from arch.registry import ConfigurationError
from arch.training import describe
from arch.training.program import Program, build, signature

SCRIPT = Path(__file__).parent / "eight_devices.py"


def lines(corpus: str, *cases: str) -> list[dict]:
    """What eight_devices.py prints, with eight devices."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(SCRIPT.parents[2]),
    }
    done = subprocess.run(
        [sys.executable, SCRIPT, corpus, *cases], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[dict]) -> None:
    for line in found:
        assert line["loss"] <= 1e-5 and line["gradient"] <= 1e-5, line


def test_loss_and_gradients_are_one_devices_on_a_mesh(corpus):
    found = lines(corpus, "vanilla:2", "sandwich:3")
    assert [line["mesh"] for line in found] == [[1, 2, 2, 2], [4, 2, 1, 1]]
    check(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("vanilla", "sandwich", "universal", "albert", "reformer", "shuffle_exchange"),
        *("experts", "jamba", "neural_gpu", "transformer"),
    ],
)
def test_every_variant_is_itself_on_every_mesh(corpus, name):
    found = lines(corpus, name)
    assert len(found) == 4
    check(found)


@pytest.mark.slow
def test_a_checkpoint_of_any_mesh_is_the_same_on_any_other(corpus):
    found = lines(corpus, "checkpoints")
    assert len(found) == 12 and all(line["same"] for line in found)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch": 6, "mesh": {"data": 4}}, "do not divide train.batch=6"),
        ({"batch": 8, "accumulate": 2, "mesh": {"data": 4, "fsdp": 2}}, "train.accumulate=2"),
        ({"mesh": {"tensor": 0}}, "train.mesh.tensor=0: allowed is 1 or more"),
    ],
)
def test_a_mesh_that_cannot_be_is_refused_in_a_line(tiny_config, fields, said):
    with pytest.raises(ConfigurationError, match=said):
        tiny_config(train=fields)


def test_more_devices_than_there_are_is_refused_before_anything_is_compiled(tiny_config):
    made = tiny_config(train={"mesh": {"data": 2, "tensor": 3}})
    with pytest.raises(ConfigurationError, match=r"data=2 × train.mesh.tensor=3: 6 devices"):
        Program(made, *build(made), devices=jax.devices()[:1])


def test_the_mesh_is_outside_of_the_identity_and_inside_of_the_program(tiny_config):
    plain, spread = (tiny_config(train={"mesh": {"data": n}}) for n in (1, 2))
    assert config.identity(plain, "") == config.identity(spread, "")
    assert not config.differences(plain, spread)
    _, model = build(plain)
    assert signature(plain, model, "") != signature(spread, model, "")


def test_replicas_take_the_devices_that_are_left():
    eight = list(np.repeat(jax.devices()[:1], 8))
    for replicas, data, along in ((4, 2, 4), (3, 1, 3), (16, 2, 4), (1, 1, None), (5, 2, 1)):
        made = mesh.make(Sizes(data), replicas, True, eight)
        assert (None if made is None else made.shape["replica"]) == along
    assert mesh.make(Sizes(), 4, False, eight) is None


SIZES = {"data": 2, "fsdp": 4, "tensor": 2}


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("stack.s.sublayer.query.kernel", (4, 64, 64), (None, "fsdp", "tensor")),
        ("stack.s.sublayer.output.kernel", (4, 64, 64), (None, "tensor", "fsdp")),
        ("stack.f.sublayer.input.kernel", (8, 6, 64), (None, None, "tensor")),
        ("stack.f.sublayer.input.kernel", (8, 12, 63), (None, "fsdp", None)),
        ("optimizer.1.mu.stack.s.norm_before.scale", (4, 64), (None, "fsdp")),
        ("stack.s.norm_before.scale", (4, 6), (None, None)),
        ("stack.final_norm.scale", (64,), ("fsdp",)),
        ("embedding.tokens.table", (257, 64), (None, "fsdp")),
        ("embedding.tokens.table", (256, 64), ("tensor", "fsdp")),
        ("stack.s.sublayer.gates.kernel", (4, 16, 64), (None, "tensor", "fsdp")),
        ("stack.s.sublayer.table", (4, 16, 64), (None, None, None)),
        ("step", (), ()),
    ],
)
def test_rules_divide_every_axis_but_the_owners(path, shape, spec):
    own = [
        Rule(r"^stack\.s\.sublayer\.gates\.kernel$", ("tensor", "")),
        Rule(r"^stack\.s\.sublayer\.table$", ()),
    ]
    assert tuple(Rules({"stack": ("s", "f")}, own).spec(path, shape, SIZES)) == spec


def test_describe_names_what_no_rule_divides(tiny_config):
    made = tiny_config(train={"mesh": {"fsdp": 4}}, model={"width": 16})
    task, model = build(made)
    found = describe.laid_out(made, model)
    vocabulary = f"({task.vocabulary}, 16)"
    assert found["replicated"] == [], vocabulary
    whole = describe.state_bytes(made, model)
    assert whole / 4 <= found["device_memory_bytes"] < whole / 3.9
    assert describe.laid_out(tiny_config(), model) == {}
    odd = tiny_config(train={"mesh": {"fsdp": 4}}, model={"width": 18})
    described = describe.describe("odd", "order", odd)
    assert "stack.s.norm_before.scale" in described["replicated"]
    assert "stack.s.norm_before.scale" in describe.said_layout(described)
