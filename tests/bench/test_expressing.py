"""Which peers there are, and which cells each can run; the others are refused in one line."""

import dataclasses
import importlib.util
from types import SimpleNamespace

import pytest

from arch import config, variants
from arch.bench import expressing
from arch.bench.peers import kinds
from arch.bench.peers.kinds import PEERS, Chosen, choose
from arch.bench.protocol import Side
from arch.registry import ConfigurationError
from arch.training.program import build


@pytest.mark.parametrize(
    "text, said",
    [
        ("tork", "did you mean 'torch'"),
        ("torch,torch", "each once"),
        (",", "expected peers"),
        ("torch:../x", "expected torch"),
        ("nanogpt", "nanogpt:PATH"),
        ("nanogpt:nowhere", "no model.py there"),
    ],
)
def test_a_peer_that_cannot_be_is_refused(text, said, everything_installed):
    with pytest.raises(ConfigurationError, match=said):
        choose(text)


def test_a_peer_that_is_not_installed_says_what_to_install(monkeypatch):
    missing = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: None))
    monkeypatch.setattr(kinds, "importlib", missing)
    with pytest.raises(ConfigurationError, match=r"torch and x_transformers .* '.\[peers\]'"):
        choose("x-transformers")


def small(order="(sf)2", s=(), model=(), train=()):
    """A cell that every peer of full attention can run, but for what is said."""
    letters = {"s": {"kind": "attention", "heads": 2, **dict(s)}, "f": {"kind": "feed_forward"}}
    plain = {"width": 16, "order": order, "sublayers": letters}
    return config.make(
        model={**plain, **dict(model)},
        task={"kind": "language_model", "length": 16},
        train={"batch": 2, **dict(train)},
    )


def sizes_of(made, name="torch", platform="cpu"):
    return expressing.sizes(Chosen(name), made, build(made)[0], platform)


def test_sizes_are_those_of_the_cell():
    found = sizes_of(small("(sf)3"))
    assert (found.layers, found.width, found.heads, found.inner) == (3, 16, 2, 64)
    assert (found.length, found.batch, found.vocabulary, found.clip) == (16, 2, 256, 1.0)


@pytest.mark.parametrize(
    "made, name, field",
    [
        (small("s(sf)f"), "torch", "model.order"),
        (small("(fs)2"), "torch", "model.order"),
        (small(s={"kind": "local_attention"}), "torch", "model.order"),
        (small(s={"window": 4}), "torch", "window=4"),
        (small(model={"stack": {"norm": "post"}}), "torch", "model.stack.norm='post'"),
        (small(model={"stack": {"share": "s"}}), "torch", "model.stack.share='s'"),
        (small(model={"stack": {"share": "sf"}}), "hf-gpt2", "model.stack.share='sf'"),
        (small(model={"stack": {"share": "sf", "groups": 2}}), "torch", "model.stack.groups=2"),
        (small(model={"stack": {"kind": "universal"}}), "hf-gpt2", "kind='universal'"),
        (small(model={"stack": {"kind": "universal"}}), "torch", "model.order='(sf)2'"),
        (
            small("sf", model={"stack": {"kind": "universal", "halting": "act"}}),
            "torch",
            "model.stack.halting='act'",
        ),
        (small(model={"dropout": 0.1}), "torch", "model.dropout=0.1"),
        (small(model={"embedding": {"positions": "rotary"}}), "torch", "positions='rotary'"),
        (small(model={"dtype": "bfloat16"}), "hf-gpt2", "model.dtype"),
        (small(), "nanogpt", "activation='relu'"),
        (small(), "hf-reformer", "lsh_attention"),
        (small(train={"accumulate": 2}), "torch", "train.accumulate=2"),
        (small(train={"optimizer": {"name": "sgd"}}), "torch", "train.optimizer.name='sgd'"),
    ],
)  # fmt: skip
def test_what_a_peer_has_no_counterpart_of_is_refused_by_name(made, name, field):
    with pytest.raises(ConfigurationError) as refused:
        sizes_of(made, name)
    assert field in str(refused.value) and f"--against={name}" in str(refused.value)


def test_shared_layers_and_steps_in_depth_are_one_layer_of_the_peer():
    shared = sizes_of(small("(sf)3", model={"stack": {"share": "sf"}}))
    universal = sizes_of(small("sf", model={"stack": {"kind": "universal", "steps": 3}}))
    assert shared == universal == dataclasses.replace(sizes_of(small("(sf)3")), shared=True)


def test_half_precision_is_for_a_gpu():
    half = small(model={"dtype": "bfloat16"})
    assert sizes_of(half, platform="gpu").dtype == "bfloat16"
    assert sizes_of(small(), platform="gpu").dtype == sizes_of(small()).dtype == "float32"


def test_hashed_attention_in_a_reversible_stack_has_its_peer():
    model = variants.reformer(width=16, order="(sf)2", head={"tie": False}, attention={"chunk": 8})
    model["sublayers"]["s"]["heads"] = 2
    made = config.make(model=model, task={"kind": "language_model", "length": 32})
    found = sizes_of(made, "hf-reformer")
    assert (found.rounds, found.chunk, found.slice) == (4, 8, 512)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", [name for name in PEERS if name != "nanogpt"])
def test_a_peer_trains(name, shared):
    if shared and not PEERS[name].ties:
        pytest.skip("it has weights of its own at every depth")
    packages = PEERS[name].packages
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    sizes = dict(vars(sizes_of(small())), rounds=2, chunk=8, shared=shared)
    opening = {"peer": name, "path": "", "sizes": sizes, "device": "cpu", "product": 64}
    side = Side("arch.bench.peers.worker", opening)
    table, layer = 256 * 16, 12 * 16 * 16
    assert side.about["parameters"] > table + layer * (1 if shared else 2)
    assert side.about["parameters"] < table + layer * 2 or not shared
    assert side.do("train", seconds=0.05)["tokens"] >= 32
    side.close()
