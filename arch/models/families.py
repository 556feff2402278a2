"""Models: embedding → stack → head, as pure functions of a tree of parameters."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from arch.checks import at_least, below_one, one_of
from arch.context import Context, Extras, add_sums, named
from arch.models.embeddings.contract import TokenEmbedding
from arch.models.embeddings.embedding import Embedding
from arch.models.heads import Head, Score, heads
from arch.registry import Config, ConfigurationError, stacks
from arch.stacks.contract import Stack
from arch.stacks.parameters import Definition, Parameters, count

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Model:
    """What the three families share: an embedding, a stack and a head.

    Built from the `model` part of a filled configuration; holds no arrays.

    Args:
        model: the configuration.
        vocabulary: number of tokens.
        max_length: of a sequence, which bounds learned positions.
    """

    causal = True
    has_memory = False  # an encoder's output is there to attend to

    def __init__(self, model: Config, vocabulary: int, max_length: int):
        one_of(DTYPES, of="model", dtype=model["dtype"])
        below_one(of="model", dropout=model["dropout"])
        at_least(1, of="model", width=model["width"])
        self.dtype = DTYPES[model["dtype"]]
        self.vocabulary, self.max_length = vocabulary, max_length
        width = model["width"]
        self.stack = self._stack(model, model["order"], self.causal, self.has_memory)
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

    @staticmethod
    def _stack(model: Config, order: str, causal: bool, has_memory: bool) -> Stack:
        """The stack of an order, whose letters can do what is asked of them."""
        options = dict(model["stack"])
        kind, given = options.pop("kind"), (model["width"], order, model["sublayers"])
        stack: Stack = stacks.build(kind, *given, field="model.stack.kind", **options)
        for letter in stack.letters:
            sublayer = stack.sublayer(letter)
            if causal and not sublayer.causal:
                why = sublayer.not_causal
                raise ConfigurationError(
                    f"model.sublayers.{letter}.kind={sublayer.kind!r} is not causal: a decoder "
                    f"would see the tokens it is to predict{why and f', since {why}'}"
                )
            if sublayer.cross and not has_memory:
                raise ConfigurationError(
                    f"model.sublayers.{letter}.cross=True: there is no memory to attend to; only "
                    "the decoder of model.family='encoder_decoder' has one"
                )
        return stack

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
        return self._through(parameters, "stack", inputs, context)

    def _through(self, parameters: Parameters, name: str, ids, context: Context):
        """A stack's output for token ids: filled up where its letters wish for it, then cut."""
        stack, length = self.stacks[name], ids.shape[1]
        ids, context = filled(ids, context, padded_length(stack, length))
        x, context = self._embedded(parameters, stack, ids, context)
        x, extras = stack(parameters[name], x, context)
        return x[:, :length], extras

    def score(
        self, parameters: Parameters, inputs: Any, targets: Int[Array, "batch length"], context
    ) -> tuple[Score, Extras]:
        """Log-probabilities of targets, and what the stack returned beside its output.

        inputs: token ids (batch, length); of an encoder-decoder, (source, ids).
        targets: (batch, length); (batch, 1) where the head speaks of the whole sequence.
        """
        x, extras = self.hidden(parameters, inputs, context)
        head, tokens = self._head(parameters)
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
        head, tokens = self._head(parameters)
        rows = jnp.take_along_axis(x, positions[..., None], axis=1)
        return head.score(tokens, rows, None, targets, context)

    def logits(
        self, parameters: Parameters, inputs: Any, context: Context
    ) -> Float[Array, "batch length vocabulary"]:
        x, _ = self.hidden(parameters, inputs, context)
        head, tokens = self._head(parameters)
        x = head.pooled(x, context)
        return head.logits(tokens, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:2], -1)

    def sentence_logits(
        self, parameters: Parameters, x: Float[Array, "batch length width"]
    ) -> Float[Array, "batch classes"]:
        """What a head that speaks of the sequence says of the last hidden state."""
        return self._head(parameters)[0].sentence_logits(x)

    # One token at a time

    def remember(self, parameters: Parameters, source: Any, context: Context) -> Context:
        """The context of decoding steps: with an encoder's output, where there is one."""
        return context

    def init_cache(self, parameters: Parameters, batch: int, length: int, context: Context):
        """What `length` decoding steps of the stack keep; every leaf's first axis is the batch."""
        return self.stack.init_cache(parameters["stack"], batch, length, self.dtype, context)

    def step(
        self, parameters: Parameters, ids: Int[Array, " batch"], cache, context: Context
    ) -> tuple[Float[Array, "batch vocabulary"], Any]:
        """Logits of the token after `ids`, which stand at `context.time`, and the cache."""
        assert context.time is not None
        context = context.replace(positions=context.time[None, None])
        x, context = self._embedded(parameters, self.stack, ids[:, None], context)
        x, cache = self.stack.step(parameters["stack"], x, cache, context.replace(causal=True))
        head, tokens = self._head(parameters)
        return head.logits(tokens, x[:, 0]), cache

    def _embedded(self, parameters: Parameters, stack: Stack, ids: Array, context: Context):
        """(x, context with what a stack asks of the embedding)."""
        embedding = self.embedding.bind(parameters["embedding"])
        where = context.positions
        if where is None:
            where = jnp.arange(ids.shape[1])[None]
        signal = embedding.signal(where)
        context = context.replace(
            signal=signal, rotary_base=embedding.rotary_base, max_length=self.max_length
        )
        return embedding(ids, None if stack.adds_signal else signal, context, self.dtype), context

    def _head(self, parameters: Parameters) -> tuple[Head, TokenEmbedding]:
        embedding = self.embedding.bind(parameters["embedding"])
        return self.head.bind(parameters["head"]), embedding.tokens

    # Figures

    @property
    def stacks(self) -> dict[str, Stack]:
        """Name in the parameters → stack, the first that runs first."""
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

    def parameter_counts(self) -> dict[str, object]:
        """unique: scalars held; applied: counted once for every use in the depth; embedding: of
        embedding and head; by_letter: held by each letter, its norms included."""
        shapes = jax.eval_shape(self.init, jax.random.key(0))
        outside = count(shapes["embedding"]) + count(shapes["head"])
        by_letter, applied = {}, outside
        for name, stack in self.stacks.items():
            schedule, held = stack.schedule, shapes[name]
            mine = {letter: count(held[letter]) for letter in schedule.letters}
            used = [letter for letter, _ in schedule.positions]
            applied += count(held) - sum(mine.values())
            applied += stack.steps * sum(mine[x] // schedule.owners[x] for x in used)
            prefix = "" if name == "stack" else f"{name}."
            by_letter |= {f"{prefix}{letter}": n for letter, n in mine.items()}
        return {
            "unique": count(shapes),
            "applied": applied,
            "embedding": outside,
            "by_letter": by_letter,
        }

    def flops_per_token(self, length: int) -> int:
        """Forward FLOPs of one token in a sequence of this length, its source as long; with
        halting, of all steps."""
        inside = sum(
            stack.steps * stack.sublayer(letter).flops(length)
            for stack in self.stacks.values()
            for letter, _ in stack.schedule.positions
        )
        tokens = self.embedding.module.tokens
        return inside // length + tokens.flops() + self.head.module.flops(tokens)


class Decoder(Model):
    """A causal language model: p(token | the tokens before it)."""


class Encoder(Model):
    """Every position sees all others: p(target of a position, or of the sequence | the input)."""

    causal = False


class EncoderDecoder(Model):
    """p(target | the targets before it, source): an encoder of `encoder_order`, and a decoder whose
    letters may attend to its output (Vaswani et al. 2017). Both have the options of `model.stack`
    and the bindings of `model.sublayers`, and weights of their own; the embedding is one.

    `inputs` are (source, ids). The context's `memory_mask` and `memory_positions` are the source's.
    """

    has_memory = True

    def __init__(self, model: Config, vocabulary: int, max_length: int):
        if not model["encoder_order"].strip():
            raise ConfigurationError(
                "model.encoder_order='': model.family='encoder_decoder' needs an order for its "
                "encoder, like '(sf)4'"
            )
        self.encoder = self._stack(model, model["encoder_order"], False, False)
        if self.encoder.output_width != model["width"]:
            raise ConfigurationError(
                "model.stack.merge='concatenate': the encoder's memory would be of twice the width "
                "that the decoder attends to; allowed with an encoder is average"
            )
        super().__init__(model, vocabulary, max_length)
        if not any(self.stack.sublayer(x).cross for x in self.stack.letters):
            raise ConfigurationError(
                f"model.order={model['order']!r}: no letter attends to the encoder; bind one with "
                "cross=True, like the c of '(scf)4'"
            )

    @property
    def stacks(self) -> dict[str, Stack]:
        return {"encoder": self.encoder, "stack": self.stack}

    def init(self, key: Key[Array, ""]) -> Parameters:
        return {**super().init(key), "encoder": self.encoder.init(named(key, "encoder"))}

    def encode(
        self, parameters: Parameters, source: Int[Array, "batch memory"], context: Context
    ) -> tuple[Float[Array, "batch memory width"], Extras]:
        """The memory, and the encoder's extras under names of their own."""
        context = context.replace(
            key=None if context.key is None else context.key_for("encoder"),
            positions=context.memory_positions,
            mask=context.memory_mask,
            schedule=None,  # the order as data is the decoder's
            causal=False,
        )
        memory, extras = self._through(parameters, "encoder", source, context)
        return memory, Extras(
            _prefixed("encoder", extras.losses),
            _prefixed("encoder", extras.statistics),
            _prefixed("encoder", extras.record),
        )

    def hidden(self, parameters: Parameters, inputs: Any, context: Context):
        source, ids = inputs
        memory, first = self.encode(parameters, source, context)
        x, second = super().hidden(parameters, ids, context.replace(memory=memory))
        return x, Extras(
            add_sums(first.losses, second.losses),
            add_sums(first.statistics, second.statistics),
            first.record | second.record,
        )

    def remember(self, parameters: Parameters, source: Any, context: Context) -> Context:
        return context.replace(memory=self.encode(parameters, source, context)[0])


def _prefixed(name: str, part: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_{key}": value for key, value in part.items()}


def padded_length(stack: Stack, length: int) -> int:
    """The length to which a stack's token ids are padded, before the embedding: the longest that a
    letter asks for. Where one letter takes the length as it is, the ids stay as they are, and the
    sublayers that need another length pad what they are given."""
    lengths = [stack.sublayer(letter).padded_length(length) for letter in stack.letters]
    return length if length in lengths else max(lengths)


def filled(ids: Array, context: Context, length: int) -> tuple[Array, Context]:
    """Ids with 0 behind them up to the length, the positions counted on, and a mask that says where
    ids were."""
    before = ids.shape[1]
    more = length - before
    if not more:
        return ids, context

    def wider(array, value):
        sides = ((0, 0), (0, more), *((0, 0),) * (array.ndim - 2))
        return jnp.pad(array, sides, constant_values=value)

    mask = jnp.ones(ids.shape[:2], bool) if context.mask is None else context.mask
    context = context.replace(mask=wider(mask, False))
    if context.positions is not None:
        on = context.positions[:, -1:] + jnp.arange(1, more + 1)[None]
        context = context.replace(positions=jnp.concatenate([context.positions, on], axis=1))
    if context.segments is not None:
        context = context.replace(segments=wider(context.segments, 0))
    return wider(ids, 0), context


FAMILIES = {"decoder": Decoder, "encoder": Encoder, "encoder_decoder": EncoderDecoder}


def build(model: Config, vocabulary: int, max_length: int) -> Model:
    """The model of a filled configuration; ConfigurationError where it cannot be built."""
    one_of(FAMILIES, of="model", family=model["family"])
    return FAMILIES[model["family"]](model, vocabulary, max_length)
