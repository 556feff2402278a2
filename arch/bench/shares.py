"""What share of a training step goes where.

Each part of the step is compiled by itself, at the step's own shapes and with its backward pass,
and timed in turn with the whole step: data, embedding, each letter, head with loss, optimiser. The
sum of the parts is not the step: in the whole, the compiler fuses across their edges, and what
stands between them (the last norm, the sum of gradients over uses) is in none. That is the rest,
which may be negative.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from arch.context import Context, named
from arch.stacks.depth import read_row
from arch.training.program import Program
from arch.training.state import Swept, TrainState, transform

WAY = (
    "each part compiled by itself at the step's shapes, forward and backward, and timed in turn "
    "with the whole step; medians"
)
ROUNDS = 7
TURN = 0.15  # seconds that the calls of one part take in a round
MOST_CALLS = 50

Part = tuple[int, Callable[[], Any]]  # how often it stands in a step, and a call of it


def of_step(program: Program, source: Any) -> dict[str, Any]:
    """{'way': how it was measured, 'step_seconds': of the whole, 'seconds': name → seconds a step}.

    For a decoder whose batches have token ids as `inputs` and as `targets`.
    """
    parts = _parts(program, source)
    found = timed({name: call for name, (_, call) in parts.items()})
    seconds = {name: times * found[name] for name, (times, _) in parts.items()}
    whole = seconds.pop("step")
    return {"way": WAY, "step_seconds": whole, "seconds": seconds}


def timed(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of one call of each, the median over rounds in which each has its turn."""
    counts = {}
    for name, call in calls.items():
        jax.block_until_ready(call())
        start = time.perf_counter()
        jax.block_until_ready(call())
        counts[name] = max(1, min(MOST_CALLS, round(TURN / (time.perf_counter() - start))))
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                result = call()
            jax.block_until_ready(result)
            found[name].append((time.perf_counter() - start) / counts[name])
    return {name: float(np.median(seconds)) for name, seconds in found.items()}


def _parts(program: Program, source: Any) -> dict[str, Part]:
    """Every part of a step, and the step itself."""
    task, model, replica, config = program.task, program.model, program.replica, program.config
    state = jax.jit(replica.init)(jnp.int32(0))
    swept = jax.tree.map(lambda row: row[0], Swept.of([(config, 0)]))
    batches = task.batches[0]

    def draw(step):
        return batches.gather(source, replica.indices(swept.data_seed, step, batches))

    def step(state):
        return replica.step(state, swept, draw(state.step), program.schedule)

    data = _compiled(lambda number: task.assemble(draw(number)), jnp.int32(0))
    key = named(jax.random.key(0), "model")
    context = Context(key=key, train=True, platform=program.platform, causal=True)
    tokens = state.parameters["embedding"], data().inputs
    embedding, context = _embedding(model, tokens, context)
    x = embedding()[0]
    parts: dict[str, Part] = {"step": (1, _compiled(step, state)), "data": (1, data)}
    parts["embedding"] = (1, embedding)
    parts |= _letters(model, state, x, context)
    parts["head and loss"] = (1, _head(model, state, x, data(), context))
    parts["optimiser"] = (1, _optimiser(config, model, state))
    return parts


def _embedding(model: Any, tokens: tuple, context: Context) -> tuple[Callable[[], Any], Context]:
    """A call of the embedding, and the context that the stack is given."""
    parameters, ids = tokens
    where = jnp.arange(ids.shape[1])[None]
    bound = model.embedding.bind(parameters)
    context = context.replace(
        signal=bound.signal(where),
        rotary_base=bound.rotary_base,
        rotary=bound.rotary,
        max_length=model.max_length,
    )

    def run(parameters, ids):
        def forward(parameters):
            module = model.embedding.bind(parameters)
            signal = None if model.stack.adds_signal else module.signal(where)
            return module(ids, signal, context, model.dtype)

        x, back = jax.vjp(forward, parameters)
        return x, back(jnp.ones_like(x))

    return _compiled(run, parameters, ids), context


def _letters(model: Any, state: TrainState, x: Any, context: Context) -> dict[str, Part]:
    """A call of each letter, which stands in the step as often as the order has it."""
    uses = Counter(letter for letter, _ in model.stack.schedule.positions)

    def call(letter: str) -> Callable[[], Any]:
        def run(row, x):
            y, back = jax.vjp(
                lambda row, x: model.stack.letters[letter].bind(row)(x, context)[0], row, x
            )
            return y, back(jnp.ones_like(y))

        return _compiled(run, read_row(state.parameters["stack"][letter], 0), x)

    return {letter: (times * model.stack.steps, call(letter)) for letter, times in uses.items()}


def _head(model: Any, state: TrainState, x: Any, batch: Any, context: Context) -> Callable[[], Any]:
    held = {name: state.parameters[name] for name in ("embedding", "head")}
    copies = model.stack.output_width // x.shape[-1]  # a reversible stack may join its streams
    x = jnp.concatenate([x] * copies, axis=-1)

    def run(held, x):
        def loss(held, x):
            head, tokens = model.bound_head(held)
            return -jnp.mean(head.score(tokens, x, batch.inputs, batch.targets, context).target)

        return jax.value_and_grad(loss, (0, 1))(held, x)

    return _compiled(run, held, x)


def _optimiser(config: Any, model: Any, state: TrainState) -> Callable[[], Any]:
    def run(gradients, moments, parameters):
        optimiser = transform(config, model)(1e-3, 1e-2)
        updates, moments = optimiser.update(gradients, moments, parameters)
        return optax.apply_updates(parameters, updates), moments

    return _compiled(run, state.parameters, state.optimizer, state.parameters)


def _compiled(run: Callable, *inputs: Any) -> Callable[[], Any]:
    compiled = jax.jit(run).lower(*inputs).compile()
    return lambda: compiled(*inputs)
