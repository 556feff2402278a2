"""Models: embedding → stack → head, as pure functions of a tree of parameters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from arch.context import Context, Extras, named
from arch.embeddings import Embedding
from arch.heads import Score, heads, score
from arch.registry import Config, ConfigurationError, stacks
from arch.stacks.parameters import Definition, Parameters, count

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Decoder:
    """A causal language model: p(token | the tokens before it).

    Built from the `model` part of a filled configuration; holds no arrays.

    Args:
        model: the configuration.
        vocabulary: number of tokens.
        max_length: of a sequence, which bounds learned positions.
    """

    causal = True

    def __init__(self, model: Config, vocabulary: int, max_length: int):
        if model["dtype"] not in DTYPES:
            raise ConfigurationError(
                f"model.dtype={model['dtype']!r}: allowed are {', '.join(DTYPES)}"
            )
        if not 0 <= model["dropout"] < 1:
            raise ConfigurationError(f"model.dropout={model['dropout']}: allowed is 0 <= rate < 1")
        if model["width"] < 1:
            raise ConfigurationError(f"model.width={model['width']}: allowed is 1 or more")
        self.dtype = DTYPES[model["dtype"]]
        self.vocabulary, self.max_length = vocabulary, max_length
        width = model["width"]
        stack = dict(model["stack"])
        self.stack = stacks.get(stack.pop("kind"), "model.stack.kind")(
            width, model["order"], model["sublayers"], **stack
        )
        for letter in self.stack.letters:
            sublayer = self.stack.sublayer(letter)
            if self.causal and not getattr(sublayer, "causal", False):
                raise ConfigurationError(
                    f"model.sublayers.{letter}.kind={sublayer.kind!r} is not causal: a decoder "
                    "would see the tokens it is to predict"
                )
        self.embedding = Definition(
            functools.partial(Embedding, vocabulary, width, max_length, **model["embedding"])
        )
        head = dict(model["head"])
        create = heads.get(head.pop("kind"), "model.head.kind")
        self.head = Definition(
            functools.partial(create, vocabulary, width, self.embedding.module.tokens, **head)
        )

    def init(self, key: Key[Array, ""]) -> Parameters:
        """Parameters: {'embedding', 'stack': {letter: stacked over owners}, 'head'}."""
        return {
            "embedding": self.embedding.init(named(key, "embedding")),
            "stack": self.stack.init(named(key, "stack")),
            "head": self.head.init(named(key, "head")),
        }

    def hidden(
        self, parameters: Parameters, inputs: Int[Array, "batch length"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """The last hidden state, before the head."""
        context = context.replace(causal=self.causal, rotary_base=self.embedding.module.rotary_base)
        x = self.embedding.bind(parameters["embedding"])(inputs, context, self.dtype)
        return self.stack(parameters["stack"], x, context)

    def score(
        self,
        parameters: Parameters,
        inputs: Int[Array, "batch length"],
        targets: Int[Array, "batch length"],
        context: Context,
    ) -> tuple[Score, Extras]:
        """Log-probabilities of targets, and what the stack returned beside its output."""
        x, extras = self.hidden(parameters, inputs, context)
        head, tokens = self._head(parameters)
        return score(head, tokens, x, targets, context), extras

    def logits(
        self, parameters: Parameters, inputs: Int[Array, "batch length"], context: Context
    ) -> Float[Array, "batch length vocabulary"]:
        x, _ = self.hidden(parameters, inputs, context)
        head, tokens = self._head(parameters)
        return head.logits(tokens, x.reshape(-1, x.shape[-1])).reshape(*inputs.shape, -1)

    def _head(self, parameters: Parameters) -> tuple[Any, Any]:
        embedding = self.embedding.bind(parameters["embedding"])
        return self.head.bind(parameters["head"]), embedding.tokens

    def parameter_counts(self) -> dict[str, object]:
        """unique: scalars held; applied: counted once for every use in the depth; embedding: of
        embedding and head; by_letter: held by each letter, its norms included."""
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        schedule = self.stack.schedule
        by_letter = {letter: count(shapes["stack"][letter]) for letter in schedule.letters}
        outside = count(shapes["embedding"]) + count(shapes["head"])
        uses = {
            letter: [name for name, _ in schedule.positions].count(letter) for letter in by_letter
        }
        rest = count(shapes["stack"]) - sum(by_letter.values())
        applied = sum(
            by_letter[letter] // schedule.owners[letter] * uses[letter] for letter in by_letter
        )
        return {
            "unique": count(shapes),
            "applied": applied + rest + outside,
            "embedding": outside,
            "by_letter": by_letter,
        }

    def flops_per_token(self, length: int) -> int:
        """Forward FLOPs of one token in a sequence of this length."""
        inside = sum(
            self.stack.sublayer(letter).flops(length) for letter, _ in self.stack.schedule.positions
        )
        tokens = self.embedding.module.tokens
        return inside // length + tokens.flops() + self.head.module.flops(tokens)


FAMILIES = {"decoder": Decoder}


def build(model: Config, vocabulary: int, max_length: int) -> Decoder:
    """The model of a filled configuration; ConfigurationError where it cannot be built."""
    if model["family"] not in FAMILIES:
        raise ConfigurationError(
            f"model.family={model['family']!r}: allowed are {', '.join(FAMILIES)}"
        )
    return FAMILIES[model["family"]](model, vocabulary, max_length)
