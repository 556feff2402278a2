"""BERT and ALBERT: published counts, the embedding, the heads, sharing by letter."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from arch import config, variants
from arch.context import Context
from arch.models import families as models
from arch.registry import ConfigurationError
from arch.stacks.schedule import make_schedule

ALBERT = 30000  # entries of the vocabulary


def build(model, vocabulary, max_length=512):
    return models.build(config.make(model=model).model, vocabulary, max_length)


def counts(model, vocabulary):
    return build(model, vocabulary).parameter_counts()


# Worked out by hand from the papers: with the pooler, and with the heads of pre-training too
ENCODERS = {
    "albert-base": 11_683_584,
    "albert-large": 17_683_968,
    "albert-xlarge": 58_724_864,
    "albert-xxlarge": 222_595_584,
    "albert-base-E128-attention": 63_647_232,
    "albert-base-E128-ffn": 37_686_528,
    "albert-base-E128-none": 89_650_176,
    "albert-base-E768-all": 31_114_752,
    "albert-base-E768-attention": 83_078_400,
    "albert-base-E768-ffn": 57_117_696,
    "albert-base-E768-none": 109_081_344,
    "albert-base-E64-all": 9_681_408,
    "albert-base-E256-all": 15_687_936,
    "bert-base": 109_482_240,
    "bert-large": 335_141_888,
}
WITH_HEADS = {
    "albert-base": 11_813_810,
    "albert-large": 17_847_474,
    "albert-xlarge": 59_021_490,
    "albert-xxlarge": 223_158_450,
    "albert-base-E128-attention": 63_777_458,
    "albert-base-E128-ffn": 37_816_754,
    "albert-base-E128-none": 89_780_402,
    "bert-base": 110_106_428,
    "bert-large": 336_226_108,
}


def test_describe_gives_every_published_count(capsys):
    file = Path(__file__).parents[2] / "experiments" / "albert_sizes.py"
    assert launch.main(["describe", f"--config={file}", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {row["cell"]: row["parameters"]["unique"] for row in rows}
    wanted = ENCODERS | {f"{name}+heads": count for name, count in WITH_HEADS.items()}
    assert {name: found[name] for name in wanted} == wanted


def test_sharing_changes_what_is_held_and_not_what_is_applied():
    found = [counts(variants.albert(share=share), ALBERT) for share in ("sf", "s", "f", "")]
    assert len({row["applied"] for row in found}) == 1
    assert len({row["unique"] for row in found}) == 4


@pytest.mark.parametrize(
    ("layers", "groups", "inner"), [(12, 1, 1), (12, 4, 1), (5, 2, 1), (6, 2, 3)]
)
def test_a_layers_owner_is_that_of_its_group_and_turn(layers, groups, inner):
    """Hugging Face: layer i is of group int(i / (layers / groups)), its inner layers in turn."""
    positions = make_schedule(f"(sf){layers * inner}", "sf", groups, inner).positions
    expected = [
        int(layer / (layers / groups)) * inner + turn
        for layer in range(layers)
        for turn in range(inner)
    ]
    assert [owner for letter, owner in positions if letter == "s"] == expected
    assert [owner for letter, owner in positions if letter == "f"] == expected


def tiny(**model):
    return variants.masked_encoder(2, 16, 2, "gelu_tanh", **model)


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape), jnp.float32), shapes)


def layer_norm(x, scale, bias, epsilon=1e-12):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(centred.var(-1, keepdims=True) + epsilon) * scale + bias


@pytest.mark.parametrize("early", [False, True])
def test_words_types_and_positions_are_summed_and_normed_before_or_after_the_map(early):
    embedding = {"kind": "factorised", "size": 8, "early": early, "back": False}
    model = build(tiny(embedding=embedding), 20, 12)
    parameters = drawn(model)
    ids = np.random.default_rng(1).integers(0, 20, (2, 5))
    segments = np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]])

    @jax.jit
    def embedded(parameters):
        bound = model.embedding.bind(parameters)
        signal = bound.signal(jnp.arange(5)[None])
        context = Context(segments=jnp.asarray(segments))
        return bound(jnp.asarray(ids), signal, context, jnp.float32)

    found = embedded(parameters["embedding"])
    p = jax.tree.map(np.asarray, parameters["embedding"])
    kernel, bias = p["tokens"]["project"]["kernel"], p["tokens"]["project"]["bias"]
    rows = p["tokens"]["table"][ids]
    rows = rows if early else rows @ kernel + bias
    total = rows + p["learned"][:5][None] + p["types"][segments]
    normed = layer_norm(total, p["norm"]["scale"], p["norm"]["bias"])
    expected = normed @ kernel + bias if early else normed
    assert p["learned"].shape[1] == (8 if early else 16)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


def test_without_segments_every_token_is_of_the_first_type():
    model = build(tiny(embedding={"kind": "plain"}), 20, 12)
    parameters, ids = drawn(model), jnp.arange(6).reshape(2, 3)
    zeros = Context(segments=jnp.zeros((2, 3), jnp.int32))
    logits = jax.jit(model.logits)
    with_zeros, without = (logits(parameters, ids, c) for c in (zeros, Context()))
    np.testing.assert_allclose(with_zeros, without, rtol=1e-6)


def test_the_masked_head_predicts_tokens_through_the_table_and_sentences_from_the_first_state():
    embedding = {"kind": "factorised", "size": 8, "early": True, "back": False}
    model = build(tiny(embedding=embedding), 20, 12)
    parameters = drawn(model)
    x = np.random.default_rng(2).standard_normal((2, 3, 16)).astype(np.float32)
    p = jax.tree.map(np.asarray, parameters["head"])
    inner = x @ p["transform"]["kernel"] + p["transform"]["bias"]
    inner = inner * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    inner = layer_norm(inner, p["norm"]["scale"], p["norm"]["bias"])
    table = np.asarray(parameters["embedding"]["tokens"]["table"])
    head, tokens = model.bound_head(parameters)
    logits = head.logits(tokens, jnp.asarray(x.reshape(-1, 16)))
    np.testing.assert_allclose(
        logits, (inner @ table.T + p["bias"]).reshape(-1, 20), rtol=2e-4, atol=2e-4
    )
    pooled = np.tanh(x[:, 0] @ p["pooler"]["kernel"] + p["pooler"]["bias"])
    expected = pooled @ p["sentence"]["kernel"] + p["sentence"]["bias"]
    found = model.sentence_logits(parameters, jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"embedding": {"kind": "plain", "types": -1}}, "embedding.types=-1"),
        ({"embedding": {"kind": "plain", "norm": "batch"}}, "norm_kind='batch'"),
        ({"head": {"kind": "masked", "activation": "tanh"}}, "head.activation='tanh'"),
        ({"head": {"kind": "masked", "classes": -1}}, "head.classes=-1"),
        ({"embedding": {"kind": "factorised", "back": False}}, "embedding.back=False"),
        ({"stack": {"inner_groups": 2}}, "inner_groups=2: no letter is shared"),
        ({"stack": {"share": "s", "inner_groups": 3}}, "inner_groups=3, groups=1"),
        (
            {
                "embedding": {"kind": "factorised", "early": True},
                "stack": {"kind": "universal"},
            },
            "embedding.early=True",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(model, message):
    with pytest.raises(ConfigurationError, match=message):
        build(
            {
                "width": 16,
                "order": "(sf)2",
                "sublayers": {"s": {"kind": "attention", "heads": 2}},
                **model,
            },
            20,
            12,
        )


@pytest.mark.parametrize("variant", [variants.bert, variants.albert])
def test_an_unknown_size_is_refused(variant):
    with pytest.raises(ConfigurationError, match="size 'tiny': allowed are base, large"):
        variant("tiny")
