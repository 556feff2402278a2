"""Axial positions: a grid's vectors, its parameters, and what it has no room for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.context import Context
from arch.models import families as models
from arch.models import generation
from arch.models.embeddings import axial
from arch.registry import ConfigurationError

WIDTH, LENGTH, VOCABULARY = 16, 24, 13


def build(length=LENGTH, stack=None, kind=None, **embedding) -> models.Decoder:
    letters = {
        "s": {"kind": "attention", "heads": 2},
        "l": {"kind": "local_attention", "heads": 2, "chunk": 4},
    }
    model = {"width": WIDTH, "order": "lfsf", "sublayers": letters, "stack": stack or {}}
    model["embedding"] = {"positions": "axial", "scale": False, **(kind or {}), **embedding}
    return models.build(config.make(model=model).model, VOCABULARY, length)


def drawn(model, seed=0):
    source = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.3 * source.standard_normal(leaf.shape), jnp.float32), shapes
    )


def tables(parameters):
    return [np.asarray(t) for t in jax.tree.leaves(parameters["embedding"]["axial"])]


def grid(first, second):
    """As trax and Hugging Face write it: each table broadcast along the other axis, side by side,
    and the two axes made one."""
    sides = (
        np.broadcast_to(first[:, None], (len(first), len(second), first.shape[1])),
        np.broadcast_to(second[None], (len(first), len(second), second.shape[1])),
    )
    return np.concatenate(sides, -1).reshape(len(first) * len(second), -1)


def signal(model, parameters, positions):
    run = jax.jit(lambda parameters, where: model.embedding.bind(parameters).signal(where))
    return run(parameters["embedding"], positions)


@pytest.mark.parametrize(
    "shape, widths, expected",
    [
        ((), (), [(5, 8), (5, 8)]),
        ((4, 6), (), [(4, 8), (6, 8)]),
        ((6, 4), (3, 13), [(6, 3), (4, 13)]),
        ((1, 30), (15, 1), [(1, 15), (30, 1)]),
    ],
)
def test_positions_are_the_grids_rows_one_after_the_other(shape, widths, expected, same_bytes):
    model = build(axial_shape=shape, axial_widths=widths)
    parameters = drawn(model)
    first, second = tables(parameters)
    assert [first.shape, second.shape] == expected
    flat = grid(first, second)
    for length in (1, 7, LENGTH, len(flat)):
        here = np.arange(length)[None]
        assert same_bytes(signal(model, parameters, here), flat[None, :length])
    anywhere = np.random.default_rng(1).integers(0, len(flat), (3, 10))
    assert same_bytes(signal(model, parameters, anywhere), flat[anywhere])


def test_the_parameters_are_those_of_the_two_tables():
    def held(**embedding):
        return build(**embedding).parameter_counts()["embedding"]

    none = held(positions="none")
    assert held() - none == 5 * 8 + 5 * 8
    assert held(axial_shape=(3, 8), axial_widths=(5, 11)) - none == 3 * 5 + 8 * 11
    big = {"length": 8192, "axial_shape": (64, 128), "axial_widths": (4, 12)}
    assert held(**big) - none == 64 * 4 + 128 * 12


def test_the_grid_is_about_square_and_has_room():
    assert axial.shape_for((), 4096) == (64, 64)
    for length in (1, 2, 3, 5, 24, 512, 1000, 8192, 65536):
        rows, columns = axial.shape_for((), length)
        assert length <= rows * columns < length + columns and 0 <= columns - rows <= 1
    assert axial.widths_for((), 7) == (3, 4)


def test_a_table_starts_as_learned_positions_do():
    wide = {"length": 40_000, "axial_widths": (4, 12)}
    for std, expected in ((0.0, WIDTH**-0.5), (0.02, 0.02)):
        parameters = build(init_std=std, **wide).init(jax.random.key(0))
        assert [np.std(t) for t in tables(parameters)] == pytest.approx([expected] * 2, rel=0.1)
    first, second = tables(build(axial_shape=(5, 5)).init(jax.random.key(0)))
    assert not np.allclose(first, second)


def test_a_factorised_embedding_adds_them_at_its_own_width():
    kind = {"kind": "factorised", "size": 6, "early": True}
    model = build(kind=kind, axial_widths=(2, 4))
    assert [t.shape for t in tables(drawn(model))] == [(5, 2), (5, 4)]


@pytest.mark.parametrize("stack", [{}, {"kind": "universal", "steps": 2}])
def test_a_decoder_speaks_the_same_with_a_cache_and_without(stack):
    model = build(stack=stack)
    parameters = jax.tree.map(lambda a: 2 * a, drawn(model))
    prompt = generation.Prompt(None, jnp.array([[3, 5], [7, 0]]), jnp.array([2, 1]), 14, -1)

    def decoded(cached):
        return jax.jit(lambda p: generation.decode(model, p, prompt, cached=cached))(parameters)

    np.testing.assert_array_equal(decoded(True), decoded(False))


def test_every_row_that_is_used_is_learned_in_bfloat16_too():
    model = build(axial_shape=(4, 6))
    ids = jnp.asarray(np.random.default_rng(0).integers(0, VOCABULARY, (2, 8)))

    def loss(parameters):
        return -model.score(parameters, ids, ids, Context())[0].target.mean()

    model.dtype = jnp.bfloat16
    first, second = tables(jax.jit(jax.grad(loss))(drawn(model)))
    used = [np.abs(t).max(-1) > 0 for t in (first, second)]  # positions 0 to 7 of rows of 6
    np.testing.assert_array_equal(used[0], [True, True, False, False])
    assert used[1].all() and all(np.all(np.isfinite(t)) for t in (first, second))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"axial_shape": (4, 5)}, r"axial_shape=\(4, 5\): 20 positions; allowed is .* 24"),
        ({"axial_shape": (24,)}, r"axial_shape=\(24,\): allowed are \(\) and two whole numbers"),
        ({"axial_shape": (0, 30)}, r"axial_shape=\(0, 30\): allowed are"),
        ({"axial_shape": (4.5, 6)}, r"axial_shape=\(4.5, 6\): allowed are"),
        ({"axial_shape": ("a", "b")}, r"axial_shape=\('a', 'b'\): allowed are"),
        ({"axial_widths": (8, 9)}, r"axial_widths=\(8, 9\): the sum is 17; allowed is 16"),
        ({"axial_widths": (16, 0)}, r"axial_widths=\(16, 0\): allowed are"),
        ({"axial_widths": (4, 4, 8)}, r"axial_widths=\(4, 4, 8\): allowed are"),
        ({"kind": {"kind": "factorised", "size": 1, "early": True}}, "width is 1; allowed is 2"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_by_the_fields_name(options, message):
    with pytest.raises(ConfigurationError, match=f"model.embedding..*{message}"):
        build(**options)


def test_a_sequence_that_is_longer_than_the_grid_is_refused():
    model = build(axial_shape=(4, 7))
    parameters = drawn(model)
    message = r"model.embedding.axial_shape=\(4, 7\): length 29 exceeds its 28 axial positions"
    with pytest.raises(ConfigurationError, match=message):
        model.logits(parameters, jnp.zeros((1, 29), jnp.int32), Context())
    assert model.embedding.module.limit == 28


def test_the_command_line_says_both_as_lists():
    made = config.override(
        config.make(model={"embedding": {"positions": "axial"}}),
        {"model.embedding.axial_shape": "4,6", "model.embedding.axial_widths": "100,28"},
    )
    assert (made.model.embedding.axial_shape, made.model.embedding.axial_widths) == (
        (4, 6), (100, 28)
    )  # fmt: skip


def test_they_are_read_where_positions_are_axial_alone():
    for positions in ("sinusoidal", "learned", "rotary", "none"):
        model = build(positions=positions, axial_shape=(1, 1), axial_widths=(1, 2))
        assert model.embedding.module.axial is None
