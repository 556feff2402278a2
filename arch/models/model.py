"""A model: embedding → stack → head, as pure functions of a tree of parameters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from arch.checks import at_least, below_one, one_of
from arch.context import Context, Extras, named
from arch.devices import scopes
from arch.devices.sharding import Rule, Rules
from arch.models.embeddings.contract import TokenEmbedding
from arch.models.embeddings.embedding import Embedding
from arch.models.heads import Head, Score, heads
from arch.models.padding import filled, padded_length
from arch.models.stack import build_stack
from arch.models.weighted import Weighted
from arch.registry import Config, ConfigurationError
from arch.report.cards import Card, said_parameters
from arch.stacks.contract import Stack
from arch.stacks.parameters import Definition, Parameters, count

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Model(Weighted):
    """The base of the three families: an embedding, a stack and a head.

    Built from the `model` part of a filled configuration. Its methods are pure functions of the
    parameters that they are given; only one that `with_weights` made holds any itself, to be called
    as `model(inputs)`.

    Args:
        model: the configuration.
        vocabulary: number of tokens.
        max_length: longest sequence, which sizes learned positions.

    Attributes:
        causal: whether a position sees only those before it.
        has_memory: whether there is an encoder's output to attend to.

    Raises ConfigurationError for what does not go together, naming the field.
    """

    causal: bool = True
    has_memory: bool = False

    def __init__(self, model: Config, vocabulary: int, max_length: int):
        one_of(DTYPES, of="model", dtype=model["dtype"])
        below_one(of="model", dropout=model["dropout"])
        at_least(1, of="model", width=model["width"])
        self.dtype = DTYPES[model["dtype"]]
        self.vocabulary, self.max_length = vocabulary, max_length
        width = model["width"]
        self.stack = build_stack(model, model["order"], self.causal, self.has_memory)
        longest = max(padded_length(stack, max_length) for stack in self.stacks.values())
        self.embedding = Definition(
            functools.partial(Embedding, vocabulary, width, longest, **model["embedding"])
        )
        head = dict(model["head"])
        create = heads.get(head.pop("kind"), "model.head.kind")
        if self.embedding.module.early and self.stack.adds_signal:
            raise ConfigurationError(
                "model.embedding.early=True adds positions at its own width, and the stack at the "
                "model's; say model.stack.signal_each_step=False, or early=False"
            )
        self.head = Definition(
            functools.partial(
                create,
                vocabulary,
                self.stack.output_width,
                self.embedding.module.tokens,
                **head,
            )
        )
        if self.head.module.tied and self.stack.output_width != width:
            raise ConfigurationError(
                f"model.stack.merge='concatenate' has outputs of width {self.stack.output_width}, "
                f"which no table of model.width={width} is tied to; say "
                f"{'model.head.tie=False, or ' if 'tie' in head else ''}"
                "model.stack.merge='average'"
            )

    def check_platform(self, platform: str) -> None:
        """Raises ConfigurationError for a letter that cannot run on a platform: cpu, gpu, tpu."""
        for stack in self.stacks.values():
            for letter in stack.letters:
                try:
                    stack.sublayer(letter).check_platform(platform)
                except ConfigurationError as error:
                    raise ConfigurationError(f"model.sublayers.{letter}.{error}") from None

    def init(self, key: Key[Array, ""]) -> Parameters:
        """Parameters: {'embedding', 'stack': {letter: stacked over owners}, 'head'}."""
        return {
            "embedding": self.embedding.init(named(key, "embedding")),
            "stack": self.stack.init(named(key, "stack")),
            "head": self.head.init(named(key, "head")),
        }

    def hidden(
        self, parameters: Parameters, inputs: Any, context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """The last hidden state, before the head."""
        context = context.replace(causal=self.causal)
        return self.run_stack(parameters, "stack", inputs, context)

    def run_stack(
        self, parameters: Parameters, name: str, ids: Int[Array, "batch length"], context: Context
    ) -> tuple[Float[Array, "batch length width"], Extras]:
        """Output of the stack `name` of `stacks` for token ids, which are padded where its letters
        prefer another length, and its extras."""
        stack, length = self.stacks[name], ids.shape[1]
        ids, context = filled(ids, context, padded_length(stack, length))
        x, context = self._embedded(parameters, stack, ids, context)
        with scopes.stack(name):
            x, extras = stack(parameters[name], x, context)
        return x[:, :length], extras

    def score(
        self,
        parameters: Parameters,
        inputs: Any,
        targets: Int[Array, "batch length"],
        context: Context,
    ) -> tuple[Score, Extras]:
        """The score of targets, in nats, and the extras of the stack.

        inputs: token ids (batch, length); of an encoder-decoder, (source, ids).
        targets: (batch, length); (batch, 1) where the head has one distribution per sequence.
        """
        x, extras = self.hidden(parameters, inputs, context)
        head, tokens = self.bound_head(parameters)
        return head.score(tokens, x, inputs, targets, context), extras

    def score_at(
        self,
        parameters: Parameters,
        x: Float[Array, "batch length width"],
        positions: Int[Array, "batch places"],
        targets: Int[Array, "batch places"],
        context: Context,
    ) -> Score:
        """The score of targets at some positions of the last hidden state: no logits elsewhere."""
        head, tokens = self.bound_head(parameters)
        rows = jnp.take_along_axis(x, positions[..., None], axis=1)
        return head.score(tokens, rows, None, targets, context)

    def logits(
        self, parameters: Parameters, inputs: Any, context: Context
    ) -> Float[Array, "batch length vocabulary"]:
        """Logits of the token at each position, in float32; (batch, 1, vocabulary) of a head that
        pools. Raises ConfigurationError for a head without any."""
        x, _ = self.hidden(parameters, inputs, context)
        head, tokens = self.bound_head(parameters)
        x = head.pooled(x, context)
        return head.logits(tokens, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)

    def outputs(self, parameters: Parameters, inputs: Any, context: Context) -> dict[str, Array]:
        """All that the model gives, by name, each where its head has it.

        hidden           (batch, length, width): the last hidden state
        logits           (batch, length, vocabulary), as `logits`
        pooler           (batch, width): tanh(P x₀ + p), transformers' pooler_output
        sentence_logits  (batch, classes): of next sentence, or of sentence order
        position_logits  (batch, length): of the head `pointer`, over the input's positions

        context: its mask and segments are BERT's attention mask and token types.
        """
        x, _ = self.hidden(parameters, inputs, context)
        head, tokens = self.bound_head(parameters)
        return {"hidden": x, **head.outputs(tokens, x, context)}

    def sentence_logits(
        self, parameters: Parameters, x: Float[Array, "batch length width"]
    ) -> Float[Array, "batch classes"]:
        """Logits of a whole sequence's classes, from the last hidden state; ConfigurationError for
        a head without classes."""
        return self.bound_head(parameters)[0].sentence_logits(x)

    def remember(self, parameters: Parameters, source: Any, context: Context) -> Context:
        """The context of decoding steps, with the encoder's output where there is an encoder."""
        return context

    def apart(self, parameters: Parameters) -> Parameters:
        """The parameters as a loop of decoding steps reads them, see `Stack.apart`."""
        return parameters | {"stack": self.stack.apart(parameters["stack"])}

    def init_cache(self, parameters: Parameters, batch: int, length: int, context: Context) -> Any:
        """The cache of `length` decoding steps; every leaf's first axis is the batch."""
        return self.stack.init_cache(parameters["stack"], batch, length, self.dtype, context)

    def step(
        self, parameters: Parameters, ids: Int[Array, " batch"], cache: Any, context: Context
    ) -> tuple[Float[Array, "batch vocabulary"], Any]:
        """Logits of the token after `ids`, which stand at `context.time`, and the next cache."""
        x, cache = self._stepped(parameters, ids[:, None], cache, context)
        head, tokens = self.bound_head(parameters)
        return head.logits(tokens, x[:, 0]), cache

    def prefill(
        self, parameters: Parameters, ids: Int[Array, "batch tokens"], cache: Any, context: Context
    ) -> Any:
        """The cache after all of `ids`, of which the first stand at `context.time`, in one pass."""
        return self._stepped(parameters, ids, cache, context)[1]

    def _stepped(self, parameters: Parameters, ids: Array, cache: Any, context: Context):
        assert context.time is not None
        positions = context.time + jnp.arange(ids.shape[1])
        context = context.replace(positions=positions[None])
        x, context = self._embedded(parameters, self.stack, ids, context)
        return self.stack.step(parameters["stack"], x, cache, context.replace(causal=True))

    def _embedded(self, parameters: Parameters, stack: Stack, ids: Array, context: Context):
        """(x, the context with what a stack reads of the embedding)."""
        embedding = self.embedding.bind(parameters["embedding"])
        where = context.positions
        if where is None:
            where = jnp.arange(ids.shape[1])[None]
        signal = embedding.signal(where)
        context = context.replace(
            signal=signal,
            rotary_base=embedding.rotary_base,
            rotary=embedding.rotary,
            max_length=self.max_length,
        )
        return embedding(ids, None if stack.adds_signal else signal, context, self.dtype), context

    def bound_head(self, parameters: Parameters) -> tuple[Head, TokenEmbedding]:
        """The head and the token embedding, which it may be tied to, with their parameters."""
        embedding = self.embedding.bind(parameters["embedding"])
        return self.head.bind(parameters["head"]), embedding.tokens

    @property
    def stacks(self) -> dict[str, Stack]:
        """Name in the parameters → stack, in the order in which they run."""
        return {"stack": self.stack}

    @property
    def letters(self) -> dict[str, tuple[str, ...]]:
        """Name of each stack in the parameters → its letters, whose leaves have an owner axis."""
        return {name: tuple(stack.letters) for name, stack in self.stacks.items()}

    @property
    def order(self) -> str:
        """The expanded order; of an encoder-decoder, encoder|decoder."""
        return "|".join(
            "".join(letter for letter, _ in stack.schedule.positions)
            for stack in self.stacks.values()
        )

    @property
    def sharding(self) -> Rules:
        """Where parameters lie on a mesh: the rules of the letters' kinds, before general ones."""
        own = [
            Rule(rf"^{name}\.{letter}\.sublayer\.{path}$", axes)
            for name, stack in self.stacks.items()
            for letter in stack.letters
            for path, axes in stack.sublayer(letter).sharding
        ]
        return Rules(self.letters, own)

    @functools.cached_property
    def shapes(self) -> Parameters:
        """The shapes of what `init` gives; nothing is computed."""
        return jax.eval_shape(lambda: self.init(jax.random.key(0)))

    def card(self) -> Card:
        """What `repr` and a notebook show of it."""
        facts = {
            "parameters": said_parameters(self.parameter_counts()),
            "vocabulary": f"{self.vocabulary:,}",
            "positions": f"{self.max_length:,}",
            "weights": "its own" if self.has_weights else "none yet: with_weights(parameters)",
        }
        return Card(type(self).__name__, facts, self.order)

    def parameter_counts(self) -> dict[str, object]:
        """Numbers of scalars: `unique`: held, without the rows that a stack's `room` leaves unused;
        `applied`: counted once for every use in the depth, of the longest sequence;
        `embedding`: of embedding and head; `by_letter`: held by each letter, its norms included."""
        shapes = self.shapes
        outside = count(shapes["embedding"]) + count(shapes["head"])
        by_letter, unique, applied = {}, outside, outside
        for name, stack in self.stacks.items():
            schedule, held = stack.schedule, shapes[name]
            each = {x: count(held[x]) // n for x, n in schedule.owners.items()}
            others = count(held) - sum(count(held[x]) for x in each)
            mine = {x: n * each[x] for x, n in schedule.used.items()}
            unique += others + sum(mine.values())
            steps = stack.steps_at(self.max_length)
            applied += others + steps * sum(each[x] for x, _ in schedule.positions)
            prefix = "" if name == "stack" else f"{name}."
            by_letter |= {f"{prefix}{letter}": n for letter, n in mine.items()}
        return {
            "unique": unique,
            "applied": applied,
            "embedding": outside,
            "by_letter": by_letter,
        }

    def flops_per_token(self, length: int) -> int:
        """Forward FLOPs per token of a sequence of this length, and of a source as long; with
        halting, of all steps."""
        inside = sum(
            stack.steps_at(length) * stack.sublayer(letter).flops(length)
            for stack in self.stacks.values()
            for letter, _ in stack.schedule.positions
        )
        tokens = self.embedding.module.tokens
        return inside // length + tokens.flops() + self.head.module.flops(tokens)
