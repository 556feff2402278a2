"""Walking the positions of a schedule: unrolled, scan or switch over one and the same tree.

unrolled  a copy of the code a position; compiles in time linear in the depth, runs fastest on CPU.
scan      a `lax.scan` over each repeated group of the order.
switch    one `lax.scan` over all positions with a `lax.switch` on the letter: compiles in the same
          time at any depth, and the order is data: all orders of equal counts share the program.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array

from arch import order as orders
from arch.checks import one_of
from arch.context import Context, Extras, add_sums
from arch.stacks.parameters import Definition, Parameters
from arch.stacks.schedule import Schedule

APPLY = ("auto", "unrolled", "scan", "switch")
REMAT = ("none", "full", "dots")
SHALLOW = 32  # sublayers up to which `auto` unrolls on CPU


def choose(apply: str, depth: int) -> str:
    """What `apply` stands for on this backend; raises ConfigurationError for an unknown name."""
    one_of(APPLY, of="model.stack", apply=apply)
    if apply != "auto":
        return apply
    return "unrolled" if jax.default_backend() == "cpu" and depth <= SHALLOW else "scan"


def rematerialise(body: Callable, remat: str) -> Callable:
    """`body` with its intermediates recomputed in the backward pass: all, or all but products."""
    one_of(REMAT, of="model.stack", remat=remat)
    if remat == "none":
        return body
    policy = None if remat == "full" else jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return jax.checkpoint(body, policy=policy)


def walk(
    letters: Mapping[str, Definition],
    parameters: Mapping[str, Parameters],
    schedule: Schedule,
    x: Array,
    context: Context,
    *,
    apply: str,
    remat: str,
) -> tuple[Array, Extras]:
    """x through every position. Losses and statistics are summed over positions; a record becomes
    position → array where unrolled, and is not kept otherwise."""

    def at(letter: str) -> Callable:
        def body(owned: Parameters, x: Array, context: Context):
            return letters[letter].bind(owned)(x, context)

        return rematerialise(body, remat)

    bodies = {letter: at(letter) for letter in letters}
    run = {"unrolled": _unrolled, "scan": _scanned, "switch": _switched}[apply]
    return run(bodies, parameters, schedule, x, context)


def branches(
    letters: Mapping[str, Definition], parameters: Mapping[str, Parameters], schedule: Schedule
) -> list:
    """The bound branch of each position."""
    owned = {x: _unstack(parameters[x], schedule.owners[x]) for x in letters}
    return [letters[letter].bind(owned[letter][owner]) for letter, owner in schedule.positions]


def _unrolled(bodies, parameters, schedule, x, context):
    # jnp.unstack splits once, so that the gradient is one concatenation a letter
    owned = {x: _unstack(parameters[x], schedule.owners[x]) for x in bodies}
    losses, statistics, record = {}, {}, {}
    for position, (letter, owner) in enumerate(schedule.positions):
        x, extras = bodies[letter](owned[letter][owner], x, context.at(position))
        losses = add_sums(losses, extras.losses)
        statistics = add_sums(statistics, extras.statistics)
        for name, value in extras.record.items():
            record.setdefault(name, {})[position] = value
    return x, Extras(losses, statistics, record)


def _unstack(parameters: Parameters, owners: int) -> list[Parameters]:
    leaves, tree = jax.tree.flatten(parameters)
    if not leaves:  # a letter may have no parameters at all
        return [parameters] * owners
    return [tree.unflatten(owner) for owner in zip(*map(jnp.unstack, leaves), strict=True)]


def _scanned(bodies, parameters, schedule, x, context):
    total, position = Extras(), 0
    for unit, repeats in orders.segments("".join(letter for letter, _ in schedule.positions)):
        span = schedule.positions[position : position + repeats * len(unit)]
        owners = {
            letter: jnp.array([o for name, o in span if name == letter]).reshape(repeats, -1)
            for letter in dict.fromkeys(unit)
        }
        rows = {
            letter: jax.tree.map(lambda leaf, index=index: leaf[index], parameters[letter])
            for letter, index in owners.items()
        }

        def body(x, inputs, unit=unit):
            owned, first = inputs
            seen, extras = dict.fromkeys(unit, 0), Extras()
            for offset, letter in enumerate(unit):
                index = seen[letter]
                own = jax.tree.map(lambda leaf, index=index: leaf[index], owned[letter])
                x, more = bodies[letter](own, x, context.at(first + offset))
                extras = _sum(extras, more)
                seen[letter] += 1
            return x, extras

        starts = position + len(unit) * jnp.arange(repeats)
        x, extras = jax.lax.scan(body, x, (rows, starts))
        total = _sum(total, jax.tree.map(lambda leaf: leaf.sum(0), extras))
        position += repeats * len(unit)
    return x, total


def _switched(bodies, parameters, schedule, x, context):
    names = tuple(sorted(bodies))
    numbers = schedule.as_data() if context.schedule is None else context.schedule
    inner = context.replace(schedule=None)

    def branch(letter):
        def run(owner, position, x):
            owned = jax.tree.map(
                lambda leaf: jax.lax.dynamic_index_in_dim(leaf, owner, keepdims=False),
                parameters[letter],
            )
            x, extras = bodies[letter](owned, x, inner.at(position))
            return x, _sum(Extras(), extras)

        return run

    branches = [branch(letter) for letter in names]
    index = jax.ShapeDtypeStruct((), jnp.int32)
    shapes = [jax.eval_shape(run, index, index, x)[1] for run in branches]
    union = Extras(
        {name: pair for shape in shapes for name, pair in shape.losses.items()},
        {name: pair for shape in shapes for name, pair in shape.statistics.items()},
    )
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), union)

    def filled(run):
        def same_structure(*inputs):
            x, extras = run(*inputs)
            return x, Extras(zeros.losses | extras.losses, zeros.statistics | extras.statistics)

        return same_structure

    def body(x, inputs):
        letter, owner, position = inputs
        return jax.lax.switch(letter, [filled(run) for run in branches], owner, position, x)

    steps = (numbers[0], numbers[1], jnp.arange(numbers.shape[1]))
    x, extras = jax.lax.scan(body, x, steps)
    return x, jax.tree.map(lambda leaf: leaf.sum(0), extras)


def _sum(left: Extras, right: Extras) -> Extras:
    return Extras(add_sums(left.losses, right.losses), add_sums(left.statistics, right.statistics))
