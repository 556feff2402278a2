"""Plans for hardware that is not here: their arithmetic; with the wheels, a step of each chip."""

import dataclasses
import functools
import json
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

import launch
from arch.commands.plan import row
from arch.devices import cudnn, hlo, scopes, topologies
from arch.devices.chips import CHIPS, chip
from arch.devices.mesh import Sizes
from arch.registry import ConfigurationError
from arch.report.jsonl import read_objects
from arch.sublayers.attention import dot_product
from arch.training import plan as plans
from arch.training.plan import Plan
from arch.training.program import build

PROGRAM = """HloModule step

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p = (s32[], f32[8,4]{1,0}) parameter(0)
  %x = f32[8,4]{1,0} get-tuple-element(%p), index=1
  %ag = f32[8,16]{1,0:T(8,128)} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={1}
  %ar.1 = bf16[8,4]{1,0} all-reduce-start(%x), replica_groups={{0,1},{2,3}}, to_apply=%add
  %ad.1 = bf16[8,4]{1,0} all-reduce-done(%ar.1)
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%i, %x)
}

%add (a: bf16[], b: bf16[]) -> bf16[] {
  ROOT %sum = bf16[] add(%a, %b)
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


NAMED = """HloModule step, is_scheduled=true, replica_count=1, num_partitions=8

%below (p: (s32[], f32[8,4])) -> pred[] {
  %last = s32[]{:T(128)} constant(24)
  %p = (s32[]{:T(128)}, f32[8,4]{1,0}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %last), direction=LT
}

%body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %x = f32[8,4]{1,0} get-tuple-element(%p), index=1
  %some = f32[8,4]{1,0} all-reduce(%x), replica_groups=mesh['data'=4,'fsdp'=2] {'data'}, \
to_apply=%add
  %both = f32[8,4]{1,0} all-reduce(%x), replica_groups=mesh['data'=4,'fsdp'=2] {'data','fsdp'}, \
to_apply=%add
  %all = f32[8,4]{1,0} all-gather(%x), replica_groups={}, dimensions={1}
  ROOT %t = (s32[], f32[8,4]{1,0}) tuple(%i, %x)
}

ENTRY %main (a: f32[8,4]) -> f32[8,4] {
  %w = (s32[], f32[8,4]{1,0}) while(%t), condition=%below, body=%body, metadata={op_name="while"}
}
"""


def test_loops_and_groups_as_tpus_compiler_writes_them():
    """A loop's bound stands in its condition, a group is named by the mesh's axes."""
    found = hlo.traffic(NAMED).collectives
    assert found["all-reduce"] == (48, 48 * 128, 24 * 2 * 128 * (3 / 4 + 7 / 8))
    assert found["all-gather"] == (24, 24 * 128, 24 * 128 * 7 / 8)


IN_PLACE = """HloModule step

%update (p: f32[12,8,4], u: f32[8,4]) -> f32[12,8,4] {
  %p = f32[12,8,4]{2,1,0} parameter(0)
  %u = f32[8,4]{1,0} parameter(1)
  %row = f32[1,8,4]{2,1,0} bitcast(%u)
  ROOT %dynamic_update_slice.3 = f32[12,8,4]{2,1,0} dynamic-update-slice(%p, %row, %i, %z, %z)
}

%both (p: f32[12,8,4], u: f32[8,4]) -> (f32[12,8,4], f32[8,4]) {
  %p = f32[12,8,4]{2,1,0} parameter(0)
  %u = f32[8,4]{1,0} parameter(1)
  %more = f32[8,4]{1,0} multiply(%u, %u)
  %row = f32[1,8,4]{2,1,0} bitcast(%more)
  %all = f32[12,8,4]{2,1,0} dynamic-update-slice(%p, %row, %i, %z, %z)
  ROOT %two = (f32[12,8,4]{2,1,0}, f32[8,4]{1,0}) tuple(%all, %more)
}

%body (p: (s32[], f32[12,8,4])) -> (s32[], f32[12,8,4]) {
  %b = f32[12,8,4]{2,1,0} get-tuple-element(%t), index=1
  %x = f32[8,4]{1,0} fusion(%b), kind=kLoop, calls=%row_of
  %one = f32[12,8,4]{2,1,0} fusion(%b, %x), kind=kLoop, calls=%update
  %fs = ((f32[12,8,4]{2,1,0}, f32[8,4]{1,0}), f32[12,8,4]{2,1,0}, u32[]) fusion-start(%b, %x), \
kind=kLoop, calls=%update
  %fd = f32[12,8,4]{2,1,0} fusion-done(%fs)
  %two = (f32[12,8,4]{2,1,0}, f32[8,4]{1,0}) fusion(%b, %x), kind=kLoop, calls=%both
  %alone = f32[12,8,4]{2,1,0} dynamic-update-slice(%b, %x, %i, %z, %z)
}

ENTRY %main (a: f32[12,8,4]) -> f32[12,8,4] {
  %w = (s32[], f32[12,8,4]{2,1,0}) while(%t), condition=%c, body=%body, \
backend_config={"known_trip_count":{"n":"12"}}
}
"""


def test_a_buffer_that_a_loop_fills_in_place_counts_once_in_all():
    """What a scan keeps for its gradient: each turn writes its row, alone, in a fusion, beside
    other results, or while other work goes on."""
    row, rows_a_turn = 8 * 4 * 4, 6  # x, one, fd, both of two, alone
    assert hlo.traffic(IN_PLACE).bytes == 12 * 2 * rows_a_turn * row


def test_bytes_of_types():
    assert hlo.size("(bf16[2,3]{1,0:T(8,128)(2,1)}, s32[], pred[5])") == 12 + 4 + 5
    assert hlo.size("f8e4m3fn[7]") == 7


@pytest.fixture
def one() -> Plan:
    """A step of 1e12 FLOPs, 1e9 bytes moved and 2e8 sent on a device of eight."""
    reduced = {"all-reduce": hlo.Collective(1, 2e8, 2e8)}
    return Plan(
        mesh={"data": 8}, changes={}, devices=8, weights=1, parameters=1, state=1, temporary=1,
        peak=10, memory=10.0, flops=1e12, traffic=hlo.Traffic(1e9, reduced),
        attention={"s": ["blocks"]}, tokens=4096, steps=1000, chip=CHIPS["v5e"], efficiency=0.5,
        compile_seconds=1.0,
    )  # fmt: skip


def test_a_step_takes_the_longer_of_products_and_memory_and_then_what_is_sent(one):
    assert one.seconds == pytest.approx(1e12 / (0.5 * 197e12) + 2e8 / 200e9)
    slow = dataclasses.replace(one, traffic=hlo.Traffic(1e11, {}))
    assert slow.seconds == pytest.approx(1e11 / 819e9)
    found = one.as_json()
    assert found["tokens_per_second"] == pytest.approx(4096 / one.seconds)
    assert found["chip_hours"] == pytest.approx(8 * 1000 * one.seconds / 3600)
    assert json.loads(json.dumps(found)) == found


def test_a_step_that_the_compiler_refuses_has_a_size_and_no_time(one):
    said = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (21.5G) exceeds available HBM (15.75G). HLO module: jit_f."
    )
    assert plans.refused_bytes(said) == int(21.5 * 2**30)
    with pytest.raises(ConfigurationError, match="the compiler refuses: UNIMPLEMENTED: so"):
        plans.refused_bytes("UNIMPLEMENTED: so\nit is")
    refused = dataclasses.replace(one, traffic=plans.NOT_COMPILED, peak=11)
    assert not refused.fits and refused.seconds != refused.seconds
    assert row(refused)[1] == "10% over" and row(refused)[-4:-1] == ["", "", ""]
    assert row(one)[-1] == "s blocks"


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


def test_a_batch_that_the_devices_do_not_divide_has_tensor_beside_it():
    assert list(plans.meshes(16, 24)) == [Sizes(8, 1, 2), Sizes(1, 8, 2)]


def compiled(config, chip_name: str, devices) -> str:
    """The text of a configuration's training step, compiled for the devices."""
    task, model = build(config, CHIPS[chip_name].platform if chip_name else "cpu")
    platform = CHIPS[chip_name].platform if chip_name else "cpu"
    return plans.lower(config, task, model, platform, devices).compile().as_text()


LETTERS = {
    "s": ({"kind": "attention"}, "plain"),  # shorter than two blocks
    "d": ({"kind": "attention", "attention_dropout": 0.1}, "plain"),
    "w": ({"kind": "attention", "path": "blocks"}, "blocks"),
    "l": ({"kind": "local_attention", "chunk": 8}, "chunks"),
    "h": ({"kind": "lsh_attention", "chunk": 4}, "buckets"),
}


@pytest.mark.parametrize(("stack", "order"), [("sequential", "sdwlh"), ("reversible", "s")])
def test_each_letters_path_is_read_from_the_compiled_program(tiny_config, stack, order):
    letters = {letter: {"heads": 2, **LETTERS[letter][0]} for letter in order}
    model = {"order": order, "sublayers": letters, "stack": {"kind": stack}}
    config = tiny_config(model=model, task={"length": 32})
    found = scopes.attention_paths(compiled(config, "", jax.devices()[:1]))
    assert found == {letter: [LETTERS[letter][1]] for letter in sorted(order)}


def test_an_encoders_letters_are_told_from_the_decoders():
    text = """
      %a = dot(), metadata={op_name="jit(step)/vmap(jvp(stack:encoder))/letter:s/attention:plain/d"}
      %b = dot(), metadata={op_name="jit(step)/transpose(jvp(stack:stack))/while/body/letter:s/attention:cudnn/d"}
      %c = dot(), metadata={op_name="jit(step)/stack:stack/letter:f/d"}
    """  # noqa: E501
    assert scopes.attention_paths(text) == {"encoder.s": ["plain"], "s": ["cudnn"]}


def test_fused_attention_without_cudnn_is_refused_in_a_line(monkeypatch, tiny_config):
    monkeypatch.setattr(cudnn, "LIBRARY", "libcudnn.so.of_nobody")
    monkeypatch.setattr(cudnn, "WHEEL", "nvidia_of_nobody.cudnn")
    cudnn.load.cache_clear()
    half = {"dtype": "bfloat16", "sublayers": {"s": {"kind": "attention", "head_width": 8}}}
    with pytest.raises(ConfigurationError, match="nvidia-cudnn-cu13, or set the letter's path"):
        compiled(tiny_config(model=half), "h100", jax.devices()[:1])


def with_wheels(chip_name: str, more: tuple[str, ...] = ()) -> None:
    """Skips, with the name of a wheel that is missing."""
    platform = CHIPS[chip_name].platform
    if missing := [w for w in (*topologies.WHEELS[platform], *more) if not topologies.there(w)]:
        pytest.skip(f"{missing[0]} is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [Sizes(), Sizes(data=4), Sizes(fsdp=4)], ids=repr)
def test_on_an_h100_attention_in_bfloat16_is_the_fused_kernel(tiny_config, sizes):
    with_wheels("h100", ("nvidia.cudnn",))
    devices = topologies.devices("h100:1x1x4")[: sizes.devices]
    letters = {"s": {"kind": "attention", "heads": 2, "path": "auto"}}
    model = {"width": 128, "order": "s", "dtype": "bfloat16", "sublayers": letters}
    config = tiny_config(model=model, task={"length": 512}, train={"batch": 4})
    config = plans.changed(config, sizes)
    text = compiled(config, "h100", devices)
    assert scopes.attention_paths(text) == {"s": ["cudnn"]}
    called = set(re.findall(r'custom_call_target="(__cudnn\$[^"]+)"', text))
    assert called == {"__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward"}


def squares(text: str, length: int) -> list[str]:
    """The types of a program that have the length twice."""
    return re.findall(rf"\w+\[(?:\d+,)*{length},{length}(?:,\d+)*\]", text)


@pytest.mark.slow
@pytest.mark.parametrize("chip_name", ["v5e", "h100"])
def test_no_path_of_auto_has_a_buffer_of_length_times_length(chip_name):
    """Attention and its gradient; the blocks of a TPU take five minutes to compile."""
    with_wheels(chip_name, ("nvidia.cudnn",) if chip_name == "h100" else ())
    length, platform = 8192, CHIPS[chip_name].platform
    device = topologies.devices({"v5e": "v5e:2x2", "h100": "h100:1x1x1"}[chip_name])[0]
    there = SingleDeviceSharding(device)
    sides = [jax.ShapeDtypeStruct((1, length, 2, 64), jnp.bfloat16, sharding=there)] * 3

    def total(q, k, v, path):
        y, _ = dot_product.attend(
            q, k, v, causal=True, window=0, mask=None, dropping=None, want_weights=False,
            path=path, platform=platform,
        )  # fmt: skip
        return jnp.sum(y.astype(jnp.float32))

    found = {}
    for path in ("plain", "auto"):
        gradient = jax.jit(jax.grad(functools.partial(total, path=path), (0, 1, 2)))
        found[path] = squares(gradient.lower(*sides).compile().as_text() or "", length)
    assert found["plain"] and not found["auto"]


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x2", "h100:1x1x4"])
def test_a_step_is_compiled_for_chips_that_are_not_here(topology, capsys, corpus):
    with_wheels(topology.split(":")[0])
    command = ["plan", f"--config=experiments/orders.py:orders=sf,corpus={corpus}", "--json"]
    assert launch.main([*command, f"--topology={topology}"]) == 0
    found = json.loads(capsys.readouterr().out)
    data, fsdp = found["tried"]
    assert (data["mesh"], fsdp["mesh"]) == ({"data": 4}, {"fsdp": 4})
    assert data["fits"] and fsdp["parameters"] < 0.3 * data["parameters"]
    reduced = data["collectives"]["all-reduce"]
    assert reduced["bytes"] >= data["parameters"]  # float32 gradients, each once
    assert reduced["sent"] == pytest.approx(2 * 3 / 4 * reduced["bytes"])


ROOT = Path(__file__).resolve().parents[2]
QUICK = 45.0  # compile seconds of a line that is compiled again
LINES = read_objects(ROOT / "results" / "plan" / "plan.jsonl", {"experiment": str})
GOLDEN = [one for one in LINES if (one.get("cheapest") or {}).get("compile_seconds", 1e9) < QUICK]


@pytest.mark.slow
@pytest.mark.parametrize("line", GOLDEN, ids=lambda one: f"{one['topology']} {one['experiment']}")
def test_the_committed_table_has_todays_memory_to_five_percent(line, capsys, monkeypatch):
    with_wheels(line["topology"].split(":")[0])
    monkeypatch.chdir(ROOT)
    mesh = {"data": 1, "fsdp": 1, "tensor": 1} | line["cheapest"]["mesh"]
    fields = {f"train.mesh.{axis}": size for axis, size in mesh.items()}
    fields |= line["cheapest"]["changes"]
    command = [*shlex.split(line["command"])[2:], *(f"--config.{k}={v}" for k, v in fields.items())]
    assert launch.main(command) == 0
    found = json.loads(capsys.readouterr().out)["cheapest"]
    assert found["peak"] == pytest.approx(line["cheapest"]["peak"], rel=0.05)
    assert found["attention"] == line["cheapest"]["attention"]
