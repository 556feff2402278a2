"""The contract of sublayers: built-in kinds subclass it, a plugin may only match it."""

import functools

import jax.numpy as jnp
import pytest
from flax import nnx

from arch.context import Context
from arch.registry import ConfigurationError, sublayers
from arch.stacks.parameters import Definition
from arch.sublayers.contract import Sublayer

KINDS = sublayers.names()
SPECIAL = {
    "attention": {"heads": 2},
    "local_attention": {"heads": 2},
    "lsh_attention": {"heads": 2},
}


class Doubled(nnx.Module):
    """Matches the contract without subclassing it."""

    def __init__(self, width, *, rngs):
        pass

    def __call__(self, x, context):
        return x + x

    def flops(self, length):
        return 0


@pytest.fixture
def plugged(monkeypatch):
    monkeypatch.setattr(sublayers, "_kinds", dict(sublayers._kinds))

    def register(**members):
        return sublayers.register("doubled")(type("Doubled", (Doubled,), members))

    return register


def made(kind):
    return Definition(functools.partial(sublayers.get(kind), 8, **SPECIAL.get(kind, {}))).module


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_subclasses_the_contract_and_declares_what_it_writes_to_the_stream(kind):
    definition = Definition(functools.partial(sublayers.get(kind), 8, **SPECIAL.get(kind, {})))
    sublayer = definition.module
    assert isinstance(sublayer, Sublayer) and sublayer.kind == kind
    assert sublayer.residual_outputs is not None
    assert sublayer.causal or sublayer.not_causal
    assert sublayer.padded_length(5) >= 5


def test_a_plugin_that_only_matches_the_contract_is_given_the_defaults(plugged):
    sublayer = plugged()(8, rngs=nnx.Rngs(0))
    assert not isinstance(sublayer, Sublayer)
    for name in ("causal", "not_causal", "own_residual", "positionwise", "cross"):
        assert getattr(sublayer, name) == getattr(Sublayer, name)
    assert sublayer.residual_outputs is None
    assert not sublayer.cached and sublayer.padded_length(5) == 5
    sublayer.check_platform("tpu")


@pytest.mark.parametrize("own", [("step",), ("init_cache",), ("init_cache", "step")])
def test_a_kind_is_cached_where_it_has_both_a_cache_and_its_step(own, plugged):
    sublayer = plugged(**{name: lambda self, *_: None for name in own})(8, rngs=nnx.Rngs(0))
    assert sublayer.cached == (len(own) == 2)


@pytest.mark.parametrize("kind", ["feed_forward", "benes"])
def test_a_kind_without_a_cache_says_so_where_it_is_asked_for_one(kind):
    sublayer = made(kind)
    with pytest.raises(ConfigurationError, match=f"sublayer '{kind}' has no cache"):
        sublayer.init_cache(1, 4, jnp.float32, Context())
    with pytest.raises(ConfigurationError, match=f"sublayer '{kind}' has no cache"):
        sublayer.step(jnp.zeros((1, 1, 8)), None, Context())


@pytest.mark.parametrize(
    "missing, advice",
    [
        ("__call__", "write `def __call__(self, x, context)`: y in the shape and dtype of x"),
        ("flops", "write `def flops(self, length)`: Forward FLOPs of one sequence"),
    ],
)
@pytest.mark.parametrize("base", [nnx.Module, Sublayer])
def test_a_plugin_without_a_member_is_refused_in_one_line_that_names_it(base, missing, advice):
    members = {name: vars(Doubled)[name] for name in ("__init__", "__call__", "flops")}
    members.pop(missing)
    with pytest.raises(ConfigurationError) as refused:
        sublayers.register("half")(type("Half", (base,), members))
    text = str(refused.value)
    assert f"class Half, sublayer 'half': {missing} is missing; {advice}" in text
    assert "\n" not in text and "half" not in sublayers.names()
