"""Which cells a peer can run, and at which sizes: what it has no counterpart of is refused."""

from typing import Any

from arch import config as configuration
from arch import order as orders
from arch.bench.peers.kinds import Chosen
from arch.bench.peers.sizes import Sizes
from arch.registry import Config, ConfigurationError, flat, get
from arch.tasks.contract import Task

# Fields of the model that a peer follows, or that change no more than how weights begin or how the
# same is computed; positions, biases and norms weigh little, and the count of parameters tells.
FREE = (
    "width", "order", "dtype", "embedding.scale", "embedding.init_std", "stack.final_norm",
    "stack.scale_output_init", "stack.apply", "stack.epsilon", "head.chunk",
    "attention.heads", "attention.bias", "attention.init_std", "attention.path",
    "feed_forward.inner_width", "feed_forward.expand", "feed_forward.activation",
    "feed_forward.bias", "feed_forward.init_std", "feed_forward.chunk",
)  # fmt: skip
FREE_HASHED = (
    "attention.rounds", "attention.chunk", "attention.key_norm", "attention.remove_duplicates",
)  # fmt: skip
# What a model that applies the same weights at every depth may have; `_depth` looks closer.
FREE_TIED = ("stack.share", "stack.steps", "stack.step_signal", "stack.signal_each_step")
POSITIONS = ("learned", "sinusoidal", "none", "axial")


def sizes(against: Chosen, config: Config, task: Task, platform: str) -> Sizes:
    """The sizes at which a peer runs a cell on a platform.

    Raises ConfigurationError, naming the field, for what the peer cannot express.
    """
    peer, model, train = against.peer, config.model, config.train
    s, f = _letters(against, config)
    kinds = (peer.stack, "universal") if peer.ties else (peer.stack,)
    _one_of(against, "model.stack.kind", model.stack.kind, kinds)
    layers, shared = _depth(against, config, s, f)
    _plain(against, config, s, f)
    _one_of(against, "model.embedding.positions", model.embedding.positions, POSITIONS)
    activation = f"model.sublayers.{f}.activation"
    _one_of(against, activation, get(config, activation), peer.activations)
    dtypes = ("float32",) if platform == "cpu" else ("float32", "bfloat16")
    _one_of(against, "model.dtype", model.dtype, dtypes)
    _one_of(against, "task.kind", config.task.kind, ("language_model",))
    _one_of(against, "train.optimizer.name", train.optimizer.name, ("adamw",))
    _one_of(against, "train.accumulate", train.accumulate, (1,))
    attention, forward, optimizer = model.sublayers[s], model.sublayers[f], train.optimizer
    hashed = peer.attention == "lsh_attention"
    return Sizes(
        layers=layers,
        width=model.width,
        heads=attention.heads,
        inner=forward.inner_width or round(forward.expand * model.width),
        length=task.length,
        batch=train.batch,
        vocabulary=task.vocabulary,
        activation=forward.activation,
        dtype=model.dtype,
        bias=forward.bias,
        shared=shared,
        rounds=attention.rounds if hashed else 0,
        chunk=attention.chunk if hashed else 0,
        slice=forward.chunk,
        learning_rate=optimizer.learning_rate,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        epsilon=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        clip=train.clip,
    )


def _letters(against: Chosen, config: Config) -> tuple[str, str]:
    """The letters of attention and feed-forward, where the order has them in turn."""
    model, peer = config.model, against.peer
    order = orders.expand(model.order)
    s, f = order[0], order[-1]
    kinds = [model.sublayers[letter].kind for letter in (s, f)]
    if order != (s + f) * (len(order) // 2) or kinds != [peer.attention, "feed_forward"]:
        raise ConfigurationError(
            f"model.order={model.order!r}: --against={against.name} runs {peer.attention} and "
            "feed_forward in turn, like '(sf)6', and no other order or kind"
        )
    return s, f


def _depth(against: Chosen, config: Config, s: str, f: str) -> tuple[int, bool]:
    """(layers, whether all of them have the same weights)."""
    model = config.model
    layers = len(orders.expand(model.order)) // 2
    if model.stack.kind == "universal":
        _one_of(against, "model.order", model.order, (s + f,))
        return model.stack.steps, True
    both = (s + f, f + s) if against.peer.ties else ()
    _one_of(against, "model.stack.share", model.stack.share, ("", *both))
    return layers, model.stack.share != ""


def _plain(against: Chosen, config: Config, s: str, f: str) -> None:
    """Refuses every other field of the model that is not as the peer has it."""
    names = {s: "attention", f: "feed_forward"}
    letters = {letter: config.model.sublayers[letter] for letter in (s, f)}
    bare = {letter: {"kind": of.kind, "heads": of.heads} if letter == s else {"kind": of.kind}
            for letter, of in letters.items()}  # fmt: skip
    hashed = against.peer.attention == "lsh_attention"
    as_peer: dict[str, Any] = {"order": config.model.order, "width": config.model.width}
    as_peer["stack"] = {"kind": config.model.stack.kind}
    if hashed:
        as_peer |= {"head": {"tie": False}}
        as_peer["stack"] |= {"merge": "concatenate"}
    plain = flat(configuration.make(model={**as_peer, "sublayers": bare}).model.to_dict())
    free = {*FREE, *FREE_TIED, "embedding.positions", *(FREE_HASHED if hashed else ())}
    for field, value in flat(config.model.to_dict()).items():
        section, *rest = field.split(".")
        if section == "sublayers" and rest[0] not in names:
            continue
        named = ".".join([names[rest[0]], *rest[1:]]) if section == "sublayers" else field
        if named not in free and value != plain.get(field):
            _one_of(against, f"model.{field}", value, (plain.get(field),))


def _one_of(against: Chosen, field: str, value: object, allowed: tuple) -> None:
    if value not in allowed:
        raise ConfigurationError(
            f"{field}={value!r}: --against={against.name} has no such; expected "
            f"{' or '.join(map(repr, allowed))}"
        )
