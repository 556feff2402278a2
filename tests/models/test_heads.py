"""The contract of heads: what each kind promises, with every merge of a reversible stack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from arch import config
from arch.context import Context
from arch.models.embeddings.contract import TokenEmbedding, embeddings
from arch.models.families import build
from arch.models.heads import Head, VocabularyHead, heads
from arch.registry import ConfigurationError

WIDTH, VOCABULARY, LENGTH = 8, 20, 6
ADAPTIVE = {"kind": "adaptive", "cutoffs": (10,), "factor": 2}
# head → (its options, the token embedding it goes with)
CASES = {
    "softmax": ({"kind": "softmax", "tie": True}, {"kind": "plain"}),
    "softmax untied": ({"kind": "softmax", "tie": False}, {"kind": "plain"}),
    "softmax pooled": ({"kind": "softmax", "tie": False, "pool": "mean"}, {"kind": "plain"}),
    "adaptive": ({"kind": "adaptive"}, ADAPTIVE),
    "masked": ({"kind": "masked"}, {"kind": "plain"}),
    "masked factorised": ({"kind": "masked"}, {"kind": "factorised", "size": 4, "back": False}),
    "pointer": ({"kind": "pointer"}, {"kind": "plain"}),
    "reconstruction": ({"kind": "reconstruction"}, {"kind": "plain"}),
}
TIED, NO_TOKENS = {"softmax", "adaptive"}, {"pointer", "reconstruction"}


def built(name: str, merge: str):
    head, embedding = CASES[name]
    stack = {"kind": "reversible", "merge": merge}
    model = {"family": "encoder", "width": WIDTH, "order": "sf", "stack": stack}
    letters = {"s": {"kind": "attention", "heads": 2}, "f": {"kind": "feed_forward"}}
    model = {**model, "sublayers": letters, "head": head, "embedding": embedding}
    return build(config.make(model=model).model, VOCABULARY, LENGTH)


def test_every_kind_is_tried():
    assert {head["kind"] for head, _ in CASES.values()} == set(heads.names())


@pytest.mark.parametrize("merge", ["average", "concatenate"])
@pytest.mark.parametrize("name", CASES)
def test_a_head_goes_with_every_merge_unless_it_is_tied(name, merge):
    if name in TIED and merge == "concatenate":
        with pytest.raises(ConfigurationError) as refused:
            built(name, merge)
        text = str(refused.value)
        assert "merge='concatenate' has outputs of width 16" in text
        # advice that can be followed: only a softmax has an option `tie`
        assert ("model.head.tie=False" in text) == ("tie" in heads.options(CASES[name][0]["kind"]))
        assert text.endswith("model.stack.merge='average'")
        return
    model = built(name, merge)
    assert model.head.module.tied == (name in TIED)
    ids = jax.ShapeDtypeStruct((2, LENGTH), jnp.int32)
    parameters = jax.eval_shape(model.init, jax.random.key(0))
    pooled = model.head.module.pool != "none" or name == "pointer"
    targets = jax.ShapeDtypeStruct((2, 1 if pooled else LENGTH), jnp.int32)
    found, _ = jax.eval_shape(lambda *a: model.score(*a, Context()), parameters, ids, targets)
    assert found.target.shape == found.mean.shape == found.best.shape == targets.shape
    assert found.target.dtype == found.mean.dtype == jnp.float32


@pytest.mark.parametrize("name", CASES)
def test_a_head_has_the_logits_that_it_says_it_has(name):
    model = built(name, "average")
    head: Head = model.head.module
    x = jax.ShapeDtypeStruct((2, LENGTH, WIDTH), jnp.float32)
    rows = jax.ShapeDtypeStruct((5, WIDTH), jnp.float32)
    tokens = model.embedding.module.tokens
    assert isinstance(head, VocabularyHead) == (name not in NO_TOKENS)
    assert head.flops(tokens) > 0
    parameters = jax.eval_shape(model.init, jax.random.key(0))

    def logits(parameters, rows):
        table = model.embedding.bind(parameters["embedding"]).tokens
        return model.head.bind(parameters["head"]).logits(table, rows)

    if head.no_tokens:
        with pytest.raises(
            ConfigurationError, match=f"head.kind='{name}': this .* no .*; expected"
        ):
            jax.eval_shape(logits, parameters, rows)
    else:
        assert jax.eval_shape(logits, parameters, rows).shape == (5, VOCABULARY)
    if head.sentence_classes:
        found = jax.eval_shape(model.sentence_logits, parameters, x)
        assert found.shape == (2, head.sentence_classes)
    else:
        with pytest.raises(ConfigurationError, match="this head has no classes of sequences"):
            jax.eval_shape(model.sentence_logits, parameters, x)


NAMED = {
    "pointer": {"hidden": (2, LENGTH, WIDTH), "position_logits": (2, LENGTH)},
    "masked": {
        "hidden": (2, LENGTH, WIDTH),
        "logits": (2, LENGTH, VOCABULARY),
        "pooler": (2, WIDTH),
        "sentence_logits": (2, 2),
    },
    "softmax pooled": {"hidden": (2, LENGTH, WIDTH), "logits": (2, 1, VOCABULARY)},
    "adaptive": {"hidden": (2, LENGTH, WIDTH), "logits": (2, LENGTH, VOCABULARY)},
}


@pytest.mark.parametrize("name", NAMED)
def test_a_models_outputs_have_names_and_shapes(name):
    model = built(name, "average")
    ids = jax.ShapeDtypeStruct((2, LENGTH), jnp.int32)
    found = jax.eval_shape(model.outputs, model.shapes, ids, Context())
    assert {k: v.shape for k, v in found.items()} == NAMED[name]
    assert {v.dtype for v in found.values()} == {jnp.dtype("float32")}


def test_a_masked_head_without_its_token_part_predicts_none():
    head = {"kind": "masked", "predict": False}
    letters = {"f": {"kind": "feed_forward"}}
    model = {"family": "encoder", "width": WIDTH, "order": "f", "sublayers": letters, "head": head}
    model = build(config.make(model=model).model, VOCABULARY, LENGTH)
    assert model.head.module.no_tokens == "model.head.predict=False"
    with pytest.raises(ConfigurationError, match="model.head.predict=False"):
        model.head.module.logits(model.embedding.module.tokens, np.zeros((1, 8)))


def test_a_head_with_a_member_missing_is_refused_in_one_line():
    with pytest.raises(ConfigurationError) as refused:

        @heads.register("of_tests")
        class NoLogits(VocabularyHead):
            def flops(self, tokens):
                return 0

    assert "test_heads.py: class NoLogits, head 'of_tests': logits is missing" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="class NoScore, head 'of_tests': score is missin"):

        @heads.register("of_tests")
        class NoScore:
            def flops(self, tokens):
                return 0


def test_an_embedding_with_a_member_missing_is_refused_in_one_line():
    with pytest.raises(ConfigurationError, match="embedding 'of_tests': flops is missing"):

        @embeddings.register("of_tests")
        class NoFlops(TokenEmbedding):
            def __call__(self, ids):
                return ids


def test_an_embedding_that_does_not_subclass_its_contract_is_given_the_defaults(monkeypatch):
    monkeypatch.setattr(embeddings, "_kinds", dict(embeddings._kinds))

    @embeddings.register("of_tests")
    class Plugin(nnx.Module):
        def __init__(self, vocabulary, width, *, rngs):
            self.table = nnx.Param(jnp.ones((vocabulary, width)))

        def __call__(self, ids):
            return self.table[...][ids]

        def flops(self):
            return 0

    letters = {"f": {"kind": "feed_forward"}}
    model = {"width": WIDTH, "order": "f", "sublayers": letters}
    settings = config.make(model={**model, "embedding": {"kind": "of_tests"}}).model
    model = build(settings, VOCABULARY, LENGTH)
    parameters, ids = model.init(jax.random.key(0)), jnp.zeros((2, LENGTH), jnp.int32)
    assert model.logits(parameters, ids, Context()).shape == (2, LENGTH, VOCABULARY)
    assert model.head.module.flops(model.embedding.module.tokens) == 2 * WIDTH * VOCABULARY
