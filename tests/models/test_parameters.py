"""The tree of parameters by path: what is there, and a setter that sets all or nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

import arch
from arch import config
from arch.context import Context
from arch.models import build
from arch.registry import ConfigurationError

WIDTH, HEADS, VOCABULARY, LENGTH = 8, 2, 11, 5
MODEL = {
    "width": WIDTH,
    "order": "(sf)2",
    "sublayers": {
        "s": {"kind": "attention", "heads": HEADS, "bias": False},
        "f": {"kind": "feed_forward", "activation": "gelu", "expand": 2.0},
    },
    "embedding": {"positions": "none", "scale": False},
    "head": {"tie": False},
}


def model():
    return build(config.make(model=MODEL).model, VOCABULARY, LENGTH)


def values(held) -> dict[str, np.ndarray]:
    source = np.random.default_rng(0)
    return {
        leaf.path: source.standard_normal(leaf.shape).astype(leaf.dtype)
        for leaf in arch.parameters.leaves(held)
    }


def theirs() -> dict[str, np.ndarray]:
    """Weights under x-transformers' names: a module a layer, matrices as (outputs, inputs), norms
    without a bias."""
    source, found = np.random.default_rng(0), {}

    def draw(name, *shape):
        found[name] = source.standard_normal(shape).astype(np.float32) / np.float32(
            shape[-1] ** 0.5
        )

    draw("token_emb.emb.weight", VOCABULARY, WIDTH)
    for layer in range(4):
        draw(f"attn_layers.layers.{layer}.0.0.gamma", WIDTH)
        if layer % 2 == 0:
            for name in ("to_q", "to_k", "to_v", "to_out"):
                draw(f"attn_layers.layers.{layer}.1.{name}.weight", WIDTH, WIDTH)
        else:
            draw(f"attn_layers.layers.{layer}.1.ff.0.0.weight", 2 * WIDTH, WIDTH)
            draw(f"attn_layers.layers.{layer}.1.ff.0.0.bias", 2 * WIDTH)
            draw(f"attn_layers.layers.{layer}.1.ff.2.weight", WIDTH, 2 * WIDTH)
            draw(f"attn_layers.layers.{layer}.1.ff.2.bias", WIDTH)
    draw("attn_layers.final_norm.gamma", WIDTH)
    draw("to_logits.weight", VOCABULARY, WIDTH)
    return found


def as_ours(w: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What README shows: a letter's layers are stacked, PyTorch's matrices are transposed."""

    def stacked(first, name):
        return np.stack([w[f"attn_layers.layers.{layer}.{name}"].T for layer in (first, first + 2)])

    found = {
        "embedding.tokens.table": w["token_emb.emb.weight"],
        "stack.final_norm.scale": w["attn_layers.final_norm.gamma"],
        "stack.final_norm.bias": np.zeros(WIDTH, np.float32),
        "head.matrix.kernel": w["to_logits.weight"].T,
    }
    for letter, first in {"s": 0, "f": 1}.items():
        found[f"stack.{letter}.norm_before.scale"] = stacked(first, "0.0.gamma")
        found[f"stack.{letter}.norm_before.bias"] = np.zeros((2, WIDTH), np.float32)
    for ours, name in {"query": "q", "key": "k", "value": "v", "output": "out"}.items():
        found[f"stack.s.sublayer.{ours}.kernel"] = stacked(0, f"1.to_{name}.weight")
    for ours, name in {"input": "ff.0.0", "output": "ff.2"}.items():
        found[f"stack.f.sublayer.{ours}.kernel"] = stacked(1, f"1.{name}.weight")
        found[f"stack.f.sublayer.{ours}.bias"] = stacked(1, f"1.{name}.bias")
    return found


def in_numpy(w: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """The logits of one sequence, by their names."""

    def norm(x, gamma):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * gamma

    x, n = w["token_emb.emb.weight"][ids], len(ids)
    for layer in range(4):
        own = f"attn_layers.layers.{layer}"
        y = norm(x, w[f"{own}.0.0.gamma"])
        if layer % 2 == 0:
            q, k, v = (
                (y @ w[f"{own}.1.to_{name}.weight"].T).reshape(n, HEADS, -1) for name in "qkv"
            )
            scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(WIDTH // HEADS)
            scores = np.exp(np.where(np.tri(n, dtype=bool), scores, -np.inf))
            weights = scores / scores.sum(-1, keepdims=True)
            y = np.einsum("hqk,khd->qhd", weights, v).reshape(n, WIDTH)
            x = x + y @ w[f"{own}.1.to_out.weight"].T
        else:
            y = y @ w[f"{own}.1.ff.0.0.weight"].T + w[f"{own}.1.ff.0.0.bias"]
            y = y * (1 + erf(y / np.sqrt(2))) / 2
            x = x + y @ w[f"{own}.1.ff.2.weight"].T + w[f"{own}.1.ff.2.bias"]
    return norm(x, w["attn_layers.final_norm.gamma"]) @ w["to_logits.weight"].T


def test_weights_of_x_transformers_are_set_by_path_and_give_its_logits():
    weights, ids = theirs(), np.array([3, 1, 4, 1, 5])
    held = arch.parameters.set(model(), as_ours(weights))
    found = jax.jit(held)(ids[None])["logits"]
    np.testing.assert_allclose(found[0], in_numpy(weights, ids), rtol=0, atol=1e-5)


def test_every_parameter_is_listed_with_path_shape_and_dtype():
    held = model()
    found = {leaf.path: (leaf.shape, leaf.dtype) for leaf in arch.parameters.leaves(held)}
    assert found["stack.f.sublayer.input.kernel"] == ((2, WIDTH, 2 * WIDTH), "float32")
    assert found["embedding.tokens.table"] == ((VOCABULARY, WIDTH), "float32")
    assert found.keys() == as_ours(theirs()).keys()
    line = next(x for x in arch.parameters.table(held).splitlines() if "f.sublayer.input.k" in x)
    assert line.split() == ["stack.f.sublayer.input.kernel", "(2,", "8,", "16)", "float32", "256"]


def test_a_tree_and_what_holds_one_are_set_alike():
    held, given = model(), values(model())
    tree = arch.parameters.set(held.shapes, given)
    arch.parameters.set(held, tree)  # as a tree of dictionaries, too
    for found in (arch.parameters.flat(tree), arch.parameters.flat(held.parameters)):
        for path, array in given.items():
            assert isinstance(found[path], jax.Array)
            np.testing.assert_array_equal(found[path], array)


def test_all_that_does_not_fit_is_one_error_and_nothing_is_set():
    held = arch.parameters.set(model(), values(model()))
    before, given = held.parameters, values(held)
    del given["head.matrix.kernel"]
    given["stack.s.sublayer.quary.kernel"] = given.pop("stack.s.sublayer.query.kernel")
    given["stack.f.sublayer.input.bias"] = given["stack.f.sublayer.input.bias"][0]
    given["embedding.tokens.table"] = given["embedding.tokens.table"].astype(np.float64)
    given["stack.f.norm_before.scale"][1, 2] = np.nan
    given["stack.final_norm.bias"] = [[1.0], [1.0, 2.0]]
    with pytest.raises(ConfigurationError) as caught:
        arch.parameters.set(held, given)
    said = str(caught.value)
    assert said.startswith("parameters: 7 faults, nothing is set: ") and "\n" not in said
    for text in (
        "head.matrix.kernel is missing: expected float32 (8, 11)",
        "stack.s.sublayer.quary.kernel is unknown: nearest are stack.s.sublayer.query.kernel and",
        "stack.s.sublayer.query.kernel is missing",
        "stack.f.sublayer.input.bias has shape (16): expected (2, 16)",
        "embedding.tokens.table has dtype float64: expected float32; write .astype('float32')",
        "stack.f.norm_before.scale has 1 of 16 values that are not finite: nan at (1, 2)",
        "stack.final_norm.bias is no array: ",
    ):
        assert text in said, said
    assert held.parameters is before


def test_not_strictly_the_rest_stays_and_floats_are_converted():
    held = arch.parameters.set(model(), values(model()))
    before = arch.parameters.flat(held.parameters)
    table = np.random.default_rng(1).standard_normal((VOCABULARY, WIDTH))
    arch.parameters.set(held, {"embedding": {"tokens": {"table": table}}}, strict=False)
    for path, array in arch.parameters.flat(held.parameters).items():
        wanted = table.astype("f4") if path == "embedding.tokens.table" else before[path]
        np.testing.assert_array_equal(array, wanted)
        assert array.dtype == jnp.float32
    for bad, says in (
        ({"embedding.tokens.tabel": table}, "1 fault, nothing is set: embedding.tokens.tabel is u"),
        ({"embedding.tokens.table": table.astype(int)}, "has dtype int64: expected float32"),
        ({"embedding.tokens.table": table, "embedding": {"tokens": {"table": table}}}, "given tw"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            arch.parameters.set(held, bad, strict=False)
    with pytest.raises(ConfigurationError, match="head.matrix.kernel is missing"):
        arch.parameters.set(model(), {"embedding.tokens.table": table}, strict=False)


def test_a_run_is_set_as_a_model_is():
    held = arch.parameters.set(model(), values(model()))
    doubled = jax.tree.map(lambda a: 2 * a, held.parameters)
    other = arch.parameters.set(held.with_weights(held.parameters), doubled)
    assert other.parameters is not held.parameters
    ids = jnp.zeros((1, 3), int)
    found = jax.jit(lambda ids: other.logits(other.parameters, ids, Context()))(ids)
    np.testing.assert_array_equal(jax.jit(other)(ids)["logits"], found)
    assert not np.allclose(found, jax.jit(held)(ids)["logits"])
