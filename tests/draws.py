"""Random parameters, for tests in which no bias may be 0 and hide that it is left out, and random
decoders, for tests of what any of them must do."""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

WIDTH = 8
LETTERS = {
    "s": {"kind": "attention", "heads": 2},
    "g": {"kind": "attention", "heads": 2, "kv_heads": 1, "bias": False},
    "l": {"kind": "local_attention", "heads": 2, "chunk": 4},
    "h": {"kind": "lsh_attention", "heads": 2, "chunk": 4},
    "f": {"kind": "feed_forward", "expand": 2.0},
    "w": {"kind": "feed_forward", "inner_width": 12, "activation": "swiglu", "bias": False},
    "r": {"kind": "lstm"},
}
ORDERS = ("sf", "s2f2", "gfgw", "lfhf", "rf", "sfrs", "(sf)2", "hwf")
STACKS = (
    {},
    {"norm": "post"},
    {"norm_kind": "rms", "final_norm": False},
    {"share": "f"},
    {"kind": "universal", "steps": 2},
    {"kind": "universal", "steps": 2, "halting": "act"},
    {"kind": "reversible"},
    {"kind": "reversible", "merge": "concatenate"},
)
EMBEDDINGS = (
    {},
    {"positions": "learned", "scale": False},
    {"positions": "axial"},
    {"kind": "factorised", "size": 4},
)
HEADS = ({"tie": False}, {"tie": False, "bias": True}, {"tie": True})


class Shaped(Protocol):
    """What has parameters: a sublayer's definition, a model."""

    @property
    def shapes(self) -> Any: ...


def drawn(definition: Shaped, dtype=jnp.float32, seed=1):
    """Parameters of the shapes, every one of them random, kernels of about unit gain."""
    source = np.random.default_rng(seed)

    def draw(leaf):
        scale = 1 / math.sqrt(leaf.shape[0]) if len(leaf.shape) > 1 else 0.1
        return jnp.asarray(scale * source.standard_normal(leaf.shape), dtype)

    return jax.tree.map(draw, definition.shapes)


@st.composite
def decoders(draw) -> dict:
    """The `model` part of a small decoder: an order of several kinds in any stack. A tied head goes
    with every stack but the concatenating one."""
    order, stack = draw(st.sampled_from(ORDERS)), draw(st.sampled_from(STACKS))
    wide = stack.get("merge") == "concatenate"
    return {
        "width": WIDTH,
        "order": order,
        "sublayers": {letter: LETTERS[letter] for letter in sorted({*order} & {*LETTERS})},
        "stack": stack,
        "embedding": draw(st.sampled_from(EMBEDDINGS)),
        "head": draw(st.sampled_from(HEADS[: 2 if wide else 3])),
    }
