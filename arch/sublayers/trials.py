"""What a sublayer promises, tried at a small size before anything trains.

A kind of the user's own is believed in nothing that can be tried in seconds: its arrays, shape and
dtype, FLOPs, causality, independence of the batch, its mask, randomness, gradients and steps.
`TRIALS` lists them in the order in which they are tried; each says what is broken, or nothing.
"""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from arch.context import Context, Extras
from arch.registry import ConfigurationError, file_of

BATCH, LENGTH = 3, 11
TOLERANCE = 1e-4  # of a step beside the whole, relative to the largest element


@dataclasses.dataclass(frozen=True)
class Trial:
    """A sublayer with parameters, and what it is tried on.

    Args:
        module: the sublayer.
        x: inputs (BATCH, LENGTH, width), drawn.
        context: in training, with a key and without a mask.
    """

    module: Any
    x: Float[Array, "batch length width"]
    context: Context

    def run(self, x: Array | None = None, **changes: Any) -> Array:
        """The output for x, in a context with some fields changed; compiled once for each kind of
        context."""
        return self._compiled(self.x if x is None else x, self.context.replace(**changes))

    def run_anew(self, **changes: Any) -> Array:
        """The output for x, for which the sublayer is called once more, not what was compiled."""
        return self._compile()(self.x, self.context.replace(**changes))

    @functools.cached_property
    def _compiled(self) -> Callable[[Array, Context], Array]:
        return self._compile()

    def _compile(self) -> Callable[[Array, Context], Array]:
        graph, parameters = nnx.split(self.module)
        run = jax.jit(lambda parameters, *given: _output(nnx.merge(graph, parameters)(*given)))
        return functools.partial(run, parameters)


def _output(found: Any) -> Array:
    return found[0] if isinstance(found, tuple) else found


def _arrays(trial: Trial) -> str:
    for path, value in _held(trial.module, ""):
        if isinstance(value, nnx.Variable):
            if not isinstance(value, nnx.Param):
                return (
                    f"keeps {path} as {type(value).__name__}, which would be lost: a sublayer is "
                    "a pure function; expected nnx.Param alone"
                )
        elif isinstance(value, jax.Array | np.ndarray):
            return (
                f"keeps {path} as a bare array, a constant that is never trained; write "
                "nnx.Param(…), or make it where it is used"
            )
    return ""


def _held(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(path, variable or array) of all that a module keeps, in lists and dictionaries too."""
    if isinstance(value, nnx.Variable | jax.Array | np.ndarray):
        yield path, value
    elif isinstance(value, nnx.Module):
        for name, part in vars(value).items():
            yield from _held(part, f"{path}.{name}".lstrip("."))
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _held(part, f"{path}[{name!r}]")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _held(part, f"{path}[{number}]")


def _flops(trial: Trial) -> str:
    found = trial.module.flops(LENGTH)
    if isinstance(found, bool) or not isinstance(found, int | np.integer) or found < 0:
        return f"flops({LENGTH}) returns {found!r}; expected a whole number from 0 on"
    return ""


def _shape(trial: Trial) -> str:
    for dtype in (jnp.float32, jnp.bfloat16):
        said: list[str] = []
        jax.eval_shape(
            lambda x, said=said: said.append(_misshapen(trial.module(x, trial.context), x)),
            trial.x.astype(dtype),
        )
        if said[0]:
            return said[0]
    return ""


def _misshapen(found: Any, x: Array) -> str:
    y, extras = found if isinstance(found, tuple) and len(found) == 2 else (found, Extras())
    if not isinstance(y, jax.Array) or not isinstance(extras, Extras):
        kinds = ", ".join(type(one).__name__ for one in jax.tree.leaves([y]) or [y])
        return f"returns {kinds}; expected y, or (y, arch.context.Extras)"
    if y.shape != x.shape:
        return f"returns shape {y.shape} for {x.shape} (batch, length, width); expected equal"
    if y.dtype != x.dtype:
        return (
            f"returns {y.dtype} for {x.dtype}; end with `.astype(x.dtype)`, so that float32 "
            "parameters do not widen the stream"
        )
    return ""


def _causal(trial: Trial) -> str:
    if not trial.module.causal:
        return ""
    x = np.asarray(trial.x)
    for training in (True, False):
        y = np.asarray(trial.run(train=training))
        for at in range(1, LENGTH):
            changed_from = np.concatenate([x[:, :at], -7.0 * x[:, at:]], axis=1, dtype=x.dtype)
            other = np.asarray(trial.run(jnp.asarray(changed_from), train=training))
            changed = (y[:, :at] != other[:, :at]).any(axis=(0, 2))
            if changed.any():
                when = " in training" * training
                return (
                    f"is declared causal = True, and its output at position {changed.argmax()} "
                    f"depends on the input from position {at} on{when}: it sees what it is to "
                    "predict; expected causal = False, or no such look ahead"
                )
    return ""


def _batch(trial: Trial) -> str:
    other = trial.x.at[1:].set(3.0 * trial.x[1:] + 1.0)
    for training in (True, False):
        if bool(jnp.any(trial.run(train=training)[0] != trial.run(other, train=training)[0])):
            return (
                "mixes the sequences of a batch: the output for one changes with the others, so "
                "that a result would depend on who is evaluated beside it"
            )
    return ""


def _masked(trial: Trial) -> str:
    module = trial.module
    if module.causal or module.positionwise or module.cross:
        return ""  # padding stands at the end, which a causal kind does not see
    present = LENGTH - 3
    mask = jnp.broadcast_to(jnp.arange(LENGTH)[None] < present, (BATCH, LENGTH))
    quiet = {"causal": False, "train": False, "mask": mask}
    other = trial.x.at[:, present:].set(5.0)
    if bool(jnp.any(trial.run(**quiet)[:, :present] != trial.run(other, **quiet)[:, :present])):
        return (
            "does not honour context.mask (batch, length), True where a token is: what stands at "
            "the padding changes the output elsewhere"
        )
    return ""


def _random(trial: Trial) -> str:
    for training in (True, False):
        if bool(jnp.any(trial.run(train=training) != trial.run_anew(train=training))):
            return (
                "gives two outputs for one input and key: take random numbers from "
                "context.key_for(use), and keep nothing between calls"
            )
    keys = [jax.random.key(seed) for seed in (1, 2)]
    if bool(jnp.any(trial.run(train=False, key=keys[0]) != trial.run(train=False, key=keys[1]))):
        return "is random where context.train is False; evaluation would differ from time to time"
    return ""


def _gradients(trial: Trial) -> str:
    graph, parameters = nnx.split(trial.module)

    def loss(parameters, x):
        y = _output(nnx.merge(graph, parameters)(x, trial.context))
        return jnp.sum(y.astype(jnp.float32) * jnp.linspace(-1, 1, y.size).reshape(y.shape))

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    for name, x in (("drawn", trial.x), ("all-zero", jnp.zeros_like(trial.x))):
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(parameters, x)):
            if not bool(jnp.all(jnp.isfinite(leaf))):
                which = jax.tree_util.keystr(path[1:]) or "its input"
                return f"has gradients that are not finite, for {name} inputs, of {which}"
    return ""


def _steps(trial: Trial) -> str:
    module, context = trial.module, trial.context.replace(train=False, key=None)
    if not module.cached or not module.causal:
        return ""
    whole, x = np.asarray(trial.run(train=False, key=None)), np.asarray(trial.x)
    largest, (graph, parameters) = np.abs(whole).max(), nnx.split(module)

    @jax.jit  # as decoding does: one program, not one for every operation
    def begin(parameters, context):
        return nnx.merge(graph, parameters).init_cache(BATCH, LENGTH, trial.x.dtype, context)

    @jax.jit
    def step(parameters, tokens, cache, context):
        return nnx.merge(graph, parameters).step(tokens, cache, context)

    cache = begin(parameters, context)
    ends = (LENGTH // 2, LENGTH - 1, LENGTH) if module.several else range(1, LENGTH + 1)
    for time, end in itertools.pairwise((0, *ends)):
        tokens = jnp.asarray(x[:, time:end])
        y, cache = step(parameters, tokens, cache, context.replace(time=jnp.int32(time)))
        if y.shape != tokens.shape:
            return f"step returns shape {y.shape} for {tokens.shape}; expected equal"
        away = np.abs(np.asarray(y) - whole[:, time:end]).max()
        if away > TOLERANCE * max(largest, 1e-6):
            return f"step at time {time} differs from what the whole sequence gives there"
    return ""


TRIALS: dict[str, Callable[[Trial], str]] = {
    "keeps parameters alone": _arrays,
    "counts its FLOPs": _flops,
    "returns the shape and dtype of its input": _shape,
    "sees nothing ahead where it is causal": _causal,
    "keeps the sequences of a batch apart": _batch,
    "honours the mask": _masked,
    "is a function of input and key": _random,
    "has finite gradients": _gradients,
    "decodes step by step as at once": _steps,
}


def try_out(
    create: Callable[..., Any], width: int, named: str, context: Context | None = None
) -> list[str]:
    """Try all that a sublayer promises; returns the names of the trials.

    Args:
        create: makes the sublayer from `rngs`.
        width: of the stream.
        named: what the error calls it, for example "letter 'm', kind='mine'".
        context: side inputs beside a key, such as a memory; none for a decoder's letter.

    Raises ConfigurationError for the first that is broken, in one line with file and line.
    """
    x = jax.random.normal(jax.random.key(0), (BATCH, LENGTH, width))
    module = create(rngs=nnx.Rngs(0))
    told = (context or Context()).replace(
        key=jax.random.key(1), train=True, causal=module.causal, max_length=LENGTH
    )
    trial = Trial(module, x, told)
    for name, broken in TRIALS.items():
        try:
            found = broken(trial)
        except ConfigurationError:
            raise
        except Exception as error:  # whatever the user's code raises is told in one line
            text = " ".join(str(error).split())[:300]
            found = f"fails where it is tried whether it {name}: {type(error).__name__}: {text}"
        if found:
            raise ConfigurationError(f"{_place(type(module))}: {named} {found}")
    return list(TRIALS)


def _place(cls: type) -> str:
    """file:line of a class."""
    try:
        return f"{file_of(cls)}:{inspect.getsourcelines(cls)[1]}"
    except (OSError, TypeError):
        return file_of(cls)
