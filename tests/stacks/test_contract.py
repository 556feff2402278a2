"""The contract of a stack: what a plugin's stack is refused for, and what it is given."""

import jax.numpy as jnp
import pytest

from arch.context import Context, Extras
from arch.registry import ConfigurationError, stacks
from arch.stacks.contract import Stack
from arch.stacks.schedule import make_schedule


@pytest.fixture(autouse=True)
def _registry_of_its_own(monkeypatch):
    monkeypatch.setattr(stacks, "_kinds", dict(stacks._kinds))


class Nothing:
    """A stack that matches the contract without subclassing it: x as it came."""

    def __init__(self, width, order, bindings, *, unused=0):
        self.schedule, self.letters, self.apply = make_schedule(order), {}, "unrolled"
        self.output_width = width

    def init(self, key):
        return {}

    def __call__(self, parameters, x, context):
        return x, Extras()

    def init_cache(self, parameters, batch, length, dtype, context):
        return ()

    def step(self, parameters, x, cache, context):
        return x, cache


def test_every_built_in_kind_is_a_stack():
    for kind in ("sequential", "universal", "reversible"):
        assert issubclass(stacks.get(kind), Stack)


def test_a_stack_that_only_matches_gets_the_defaults():
    stacks.register("nothing")(Nothing)
    stack = stacks.build("nothing", 4, "(sf)2", {}, unused=1)
    assert (stack.steps, stack.adds_signal, stack.depth) == (1, False, 4)
    assert stack({}, jnp.ones((1, 2, 4)), Context())[0].shape == (1, 2, 4)


@pytest.mark.parametrize("member", ["init", "__call__", "init_cache", "step"])
def test_a_stack_that_lacks_a_member_is_refused_by_its_name(member):
    members = {k: v for k, v in vars(Nothing).items() if k != member and k != "__dict__"}
    lacking = type("Lacking", (), {k: v for k, v in members.items() if k != "__weakref__"})
    with pytest.raises(ConfigurationError, match=f"stack 'lacking': {member} is missing; write"):
        stacks.register("lacking")(lacking)


def test_a_stack_whose_constructor_forgets_an_attribute_is_refused_by_its_name():
    @stacks.register("forgets")
    class Forgets(Nothing):
        def __init__(self, width, order, bindings):
            super().__init__(width, order, bindings)
            del self.output_width

    with pytest.raises(ConfigurationError, match="output_width is missing; set `self"):
        stacks.build("forgets", 4, "sf", {})
