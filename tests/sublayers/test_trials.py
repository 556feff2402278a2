"""What a kind of one's own promises is tried: each way to break it is one line that names it."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arch.context import Context, Extras
from arch.layers import Projection, dropout
from arch.registry import ConfigurationError, sublayers
from arch.sublayers import trials
from tests import cli
from tests.families import always

WIDTH = 8


class Sound(nnx.Module):
    """Keeps every promise; the cases below change one member."""

    kind, causal, positionwise, cross, cached = "sound", True, True, False, False
    several = False

    def __init__(self, width, *, rngs):
        self.input = Projection(width, width, rngs=rngs)

    def __call__(self, x, context):
        y = self.input(x)
        if context.train:
            y = dropout(y, 0.1, context.key_for("own"), context.platform)
        return y

    def flops(self, length):
        return 2 * length * WIDTH * WIDTH


def try_out(**members):
    cls = type("Tried", (Sound,), members)
    return trials.try_out(lambda rngs: cls(WIDTH, rngs=rngs), WIDTH, "kind='tried'")


def keeping(value):
    """A constructor that keeps one thing more."""

    def init(self, width, *, rngs):
        Sound.__init__(self, width, rngs=rngs)
        self.more = value() if callable(value) else value

    return init


def adding(extra):
    """A call that adds what extra(x, context) gives."""
    return lambda self, x, context: self.input(x) + extra(x, context).astype(x.dtype)


def unevenly(x, context):
    """Looks ahead in the second half of the sequence alone."""
    late = jnp.arange(x.shape[1]) > x.shape[1] // 2
    return jnp.where(late[None, :, None], jnp.roll(x, -2, axis=1), 0.0)


def in_training(extra, there=True):
    return adding(lambda x, context: extra(x) if context.train == there else jnp.zeros_like(x))


COUNT = []


def growing(x, context):
    COUNT.append(1)
    return jnp.float32(len(COUNT))


class Stepping:
    """A running mean with a cache; `off` is what its steps add wrongly."""

    positionwise, cached, off = False, True, 0.0

    def __call__(self, x, context):
        return jnp.cumsum(x, axis=1) / (1 + jnp.arange(x.shape[1]))[None, :, None]

    def init_cache(self, batch, length, dtype, context):
        return jnp.zeros((batch, 1, WIDTH), dtype)

    def step(self, x, cache, context):
        return (cache + x) / (context.time + 1) + self.off * context.time, cache + x


FAULTS = {
    "an array": ({"__init__": keeping(lambda: jnp.ones(3))}, "keeps more as a bare array"),
    "an array of NumPy's": ({"__init__": keeping(lambda: np.ones(3))}, "keeps more as a bare"),
    "an array in a list": (
        {"__init__": keeping(lambda: nnx.List([nnx.Param(jnp.ones(2)), jnp.ones(2)]))},
        r"keeps more.1 as a bare array",
    ),
    "an array in a module": (
        {"__init__": keeping(lambda: type("Inner", (nnx.Module,), {
            "__init__": lambda self: setattr(self, "decay", jnp.ones(2))})())},
        "keeps more.decay as a bare array",
    ),
    "state": ({"__init__": keeping(lambda: nnx.BatchStat(jnp.ones(2)))}, "more as BatchStat"),
    "no flops": ({"flops": lambda self, length: None}, r"flops\(11\) returns None"),
    "negative flops": ({"flops": lambda self, length: -1}, r"flops\(11\) returns -1"),
    "broken flops": ({"flops": lambda self, length: self.nothing}, "counts its FLOPs: Attrib"),
    "a shorter sequence": (
        {"__call__": lambda self, x, context: self.input(x)[:, 1:]}, r"returns shape \(3, 10, 8\)",
    ),
    "a flat sequence": (
        {"__call__": lambda self, x, context: self.input(x).reshape(-1, WIDTH)},
        r"returns shape \(33, 8\)",
    ),
    "a wider stream": (
        {"__call__": lambda self, x, context: self.input(x).astype(jnp.float32)},
        "returns float32 for bfloat16",
    ),
    "three outputs": ({"__call__": lambda self, x, context: (x, Extras(), 0)}, "expected y, or"),
    "nothing": ({"__call__": lambda self, x, context: None}, "expected y, or"),
    "an error": (
        {"__call__": lambda self, x, context: jnp.dot(x, jnp.ones(3))}, "fails where .*TypeError",
    ),
    "the mean": ({"__call__": adding(lambda x, c: x.mean(1, keepdims=True))}, "position 0 depends"),
    "one back": ({"__call__": adding(lambda x, c: jnp.roll(x, -1, axis=1))}, "sees what it is to"),
    "a leak later": ({"__call__": adding(unevenly)}, "output at position 6 depends on the input"),
    "a leak in training": (
        {"__call__": in_training(lambda x: jnp.roll(x, -1, axis=1))}, "on in training: it sees",
    ),
    "a leak in evaluation": (
        {"__call__": in_training(lambda x: jnp.roll(x, -1, axis=1), False)}, "on: it sees",
    ),
    "a leak without gradient": (
        {"__call__": adding(lambda x, c: jnp.sign(x.sum(1, keepdims=True)))}, "it sees what",
    ),
    "the batch": ({"__call__": adding(lambda x, c: x.mean(0, keepdims=True))}, "mixes the seq"),
    "the batch's spread": (
        {"__call__": in_training(lambda x: x / jnp.std(x, axis=0, keepdims=True))}, "mixes the",
    ),
    "the padding": (
        {"causal": False, "positionwise": False,
         "__call__": adding(lambda x, c: x.mean(1, keepdims=True))},
        "does not honour context.mask",
    ),
    "chance": (
        {"__call__": adding(lambda x, c: jnp.float32(np.random.rand()))}, "two outputs for one",
    ),
    "memory": ({"__call__": adding(growing)}, "two outputs for one input and key"),
    "chance in evaluation": (
        {"__call__": adding(lambda x, c: jax.random.normal(c.key_for("x"), (1, 1, WIDTH)))},
        "is random where context.train is False",
    ),
    "a norm at zero": (
        {"__call__": adding(lambda x, c: jnp.linalg.norm(x, axis=-1, keepdims=True))},
        "not finite, for all-zero inputs",
    ),
    "steps that differ": (vars(Stepping) | {"off": 0.01}, "step at time 1 differs"),
    "several at once that differ": (
        vars(Stepping) | {"several": True}, "step at time 0 differs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_promise_that_is_broken_is_one_line_with_file_and_line(case):
    members, what = FAULTS[case]
    members = {k: v for k, v in members.items() if k not in ("__dict__", "__weakref__")}
    with pytest.raises(ConfigurationError, match=what) as told:
        try_out(**members)
    assert "\n" not in str(told.value) and "kind='tried'" in str(told.value)


def test_what_is_sound_passes_all_trials():
    assert try_out() == list(trials.TRIALS)
    members = {k: v for k, v in vars(Stepping).items() if not k.startswith("__") or k == "__call__"}
    assert try_out(**members) == list(trials.TRIALS)


# what stands at a Beneš block's padding reaches the others by design: its units are a network over
# all positions, which the model pads (Freivalds et al. 2019). What an LSH position sees depends on
# how all are sorted into chunks; tests/sublayers/test_lsh_attention.py holds it to its own mask
OPTIONS = {"attention": {"heads": 2}, "local_attention": {"heads": 2, "chunk": 4}}
LONG = {"delta", "gated_linear_attention", "mamba", "mamba2", "rwkv6"}
BUILT_IN = [kind for kind in sublayers.names() if kind not in ("benes", "lsh_attention")]


# recurrences take seconds each: their own rooms hold them to the same promises
@pytest.mark.parametrize("kind", always(BUILT_IN, set(BUILT_IN) - LONG))
def test_the_kinds_of_this_package_keep_the_same_promises(kind):
    cls, options = sublayers.get(kind), OPTIONS.get(kind, {})
    memory = jax.random.normal(jax.random.key(0), (trials.BATCH, 5, WIDTH))
    found = trials.try_out(
        lambda rngs: cls(WIDTH, **options, rngs=rngs), WIDTH, kind, Context(memory=memory)
    )
    assert found == list(trials.TRIALS)


PLUGIN = """
from flax import nnx
from arch.layers import Projection
from arch.registry import sublayers

@sublayers.register("own")
class Own(nnx.Module):
    causal = True

    def __init__(self, width, *, share: float = 0.0, rngs):
        self.input, self.share = Projection(width, width, rngs=rngs), share

    def __call__(self, x, context):
        return self.input(x) + self.share * x.mean(1, keepdims=True)

    def flops(self, length):
        return 0
"""


def test_the_command_says_what_was_tried_and_a_sweep_refuses_before_it_trains(tmp_path):
    cli.write_small(tmp_path)
    (tmp_path / "own.py").write_text(PLUGIN)
    told = cli.run("check", "--plugins=own.py", cwd=tmp_path)
    assert told.code == 0 and "sublayer 'own': keeps parameters alone, counts" in told.out
    (tmp_path / "nothing.py").write_text("x = 1\n")
    told = cli.run("check", "--plugins=nothing.py", cwd=tmp_path)
    assert told.code == 2 and "no kind is registered there" in told.err
    for command in ("describe", "sweep"):
        told = cli.run(command, "--config=small.py:f=own", "--config.plugins=own.py",
                       "--config.model.sublayers.f.share=0.5", cwd=tmp_path)  # fmt: skip
        assert told.code == 2, told
        assert re.search(r"model.sublayers.f: \S*own.py:\d+: kind='own' is declared", told.err)
        assert told.err.count("\n") == 1
