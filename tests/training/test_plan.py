"""Plans for hardware that is not here: their arithmetic; with the wheels, a step of each chip."""

import dataclasses
import importlib.util
import json

import pytest

import launch
from arch.devices import hlo, topologies
from arch.devices.chips import CHIPS, chip
from arch.devices.mesh import Sizes
from arch.registry import ConfigurationError
from arch.training import plan as plans
from arch.training.plan import Plan

PROGRAM = """HloModule step

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %x = f32[8,4]{1,0} get-tuple-element(%p), index=1
  %ag = f32[8,16]{1,0:T(8,128)} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={1}
  %ar.1 = bf16[8,4]{1,0} all-reduce-start(%x), replica_groups={{0,1},{2,3}}, to_apply=%add
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%i, %x)
}

%fused (a: f32[8,4]) -> f32[8,4] {
  ROOT %m = f32[8,4]{1,0} multiply(%a, %a)
}

ENTRY %main (a: f32[8,4]) -> f32[8,4] {
  %a = f32[8,4]{1,0} parameter(0)
  %f = f32[8,4]{1,0} fusion(%a), kind=kLoop, calls=%fused
  %w = (s32[], f32[8,4]{1,0}) while(%t), condition=%c, body=%body, \
backend_config={"known_trip_count":{"n":"6"}}
  ROOT %o = f32[8,4]{1,0} get-tuple-element(%w), index=1
}
"""


def test_a_loops_collectives_count_as_often_as_it_runs():
    found = hlo.traffic(PROGRAM)
    gathered, reduced = found.collectives["all-gather"], found.collectives["all-reduce"]
    assert gathered == (6, 6 * 512, 6 * 512 * 3 / 4)  # of four devices
    assert reduced == (6, 6 * 64, 6 * 2 * 64 / 2)  # of two
    assert found.bytes == 2 * (128 + 6 * (512 + 64))  # what is fused never reaches the memory


def test_bytes_of_types():
    assert hlo.size("(bf16[2,3]{1,0:T(8,128)(2,1)}, s32[], pred[5])") == 12 + 4 + 5
    assert hlo.size("f8e4m3fn[7]") == 7


@pytest.fixture
def one() -> Plan:
    """A step of 1e12 FLOPs, 1e9 bytes moved and 2e8 sent on a device of eight."""
    reduced = {"all-reduce": hlo.Collective(1, 2e8, 2e8)}
    return Plan(
        mesh={"data": 8}, changes={}, devices=8, parameters=1, state=1, temporary=1, peak=10,
        memory=10.0, flops=1e12, traffic=hlo.Traffic(1e9, reduced), tokens=4096, steps=1000,
        chip=CHIPS["v5e"], efficiency=0.5, compile_seconds=1.0,
    )  # fmt: skip


def test_a_step_takes_the_longer_of_products_and_memory_and_then_what_is_sent(one):
    assert one.seconds == pytest.approx(1e12 / (0.5 * 197e12) + 2e8 / 200e9)
    slow = dataclasses.replace(one, traffic=hlo.Traffic(1e11, {}))
    assert slow.seconds == pytest.approx(1e11 / 819e9)
    found = one.as_json()
    assert found["tokens_per_second"] == pytest.approx(4096 / one.seconds)
    assert found["chip_hours"] == pytest.approx(8 * 1000 * one.seconds / 3600)
    assert json.loads(json.dumps(found)) == found


def test_it_fits_up_to_the_last_byte(one):
    assert one.fits and not dataclasses.replace(one, peak=11).fits


def test_meshes_use_every_device_and_divide_the_batch():
    assert list(plans.meshes(8, 16)) == [Sizes(8), Sizes(1, 8)]
    every = list(plans.meshes(8, 4, every=True))
    assert all(sizes.devices == 8 and 4 % sizes.rows == 0 for sizes in every)
    assert Sizes(2, 2, 2) in every and Sizes(8) not in every and len(set(every)) == len(every)


def test_remedies_add_up_the_cheapest_first(tiny_config):
    config = tiny_config(train={"batch": 16})
    found = list(plans.remedies(config, Sizes(fsdp=4)))
    assert found[0] == {"model.head.chunk": 4096}
    assert found[1]["model.stack.remat"] == "full"
    assert [one["train.accumulate"] for one in found[2:]] == [2, 4]
    for fields in found:
        assert plans.changed(config, Sizes(fsdp=4), **fields).train.mesh.fsdp == 4


@pytest.mark.parametrize("text", ["v7:2x2", "v5e", "v5e:", "v5e:0x4", "h100:8", "h100:1x8"])
def test_a_topology_that_cannot_be_is_refused(text):
    with pytest.raises(ConfigurationError, match=f"--topology={text}"):
        chip(text)


def test_without_the_wheels_a_line_says_which(monkeypatch, capsys, corpus):
    monkeypatch.setitem(topologies.WHEELS, "tpu", ("a_compiler_that_nobody_has",))
    command = ["plan", f"--config=experiments/orders.py:orders=sf,corpus={corpus}"]
    assert launch.main([*command, "--topology=v5e:2x2"]) == 2
    assert "a_compiler_that_nobody_has, which is not installed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "wheel"), [("v5e:2x2", "tpu"), ("h100:1x1x4", "gpu")])
def test_a_step_is_compiled_for_chips_that_are_not_here(topology, wheel, capsys, corpus):
    if missing := [w for w in topologies.WHEELS[wheel] if not importlib.util.find_spec(w)]:
        pytest.skip(f"{missing[0]} is not installed")
    command = ["plan", f"--config=experiments/orders.py:orders=sf,corpus={corpus}", "--json"]
    assert launch.main([*command, f"--topology={topology}"]) == 0
    found = json.loads(capsys.readouterr().out)
    data, fsdp = found["tried"]
    assert (data["mesh"], fsdp["mesh"]) == ({"data": 4}, {"fsdp": 4})
    assert data["fits"] and fsdp["parameters"] < 0.3 * data["parameters"]
    assert data["collectives"]["all-reduce"]["bytes"] >= data["parameters"]
