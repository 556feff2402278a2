"""Parameters of a letter: an NNX module split once, and stacked along a leading owner axis."""

import functools
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Key

from arch.registry import ConfigurationError

Parameters = dict[str, Any]


class Definition:
    """An NNX module split once: its graph is kept here, its arrays go in and out.

    Args:
        create: builds the module from `rngs`.

    Attributes:
        module: the abstract module, whose arrays are shapes.
        shapes: tree of the shapes of its parameters.

    Raises ConfigurationError where the module keeps anything but `nnx.Param`s: a pure function
    would lose other state.
    """

    _graph: nnx.GraphDef

    def __init__(self, create: Callable[..., nnx.Module]):
        def init(key: Key[Array, ""]) -> Parameters:  # traced once, and gives the graph beside
            module = create(rngs=nnx.Rngs(key))
            self._graph, state = nnx.split(module)
            _check_params_alone(module, state)
            return nnx.to_pure_dict(state)

        self._init = jax.jit(init)
        self.shapes = jax.eval_shape(self._init, jax.eval_shape(jax.random.key, 0))
        self.module: Any = self.bind(self.shapes)

    def init(self, key: Key[Array, ""]) -> Parameters:
        """The module's initial arrays."""
        return self._init(key)

    def bind(self, parameters: Parameters) -> Any:
        """The module with these arrays as its parameters."""
        return nnx.merge(self._graph, parameters)


def _check_params_alone(module: nnx.Module, state: nnx.State) -> None:
    for path, variable in nnx.to_flat_state(state):
        if not isinstance(variable, nnx.Param):
            raise ConfigurationError(
                f"{type(module).__name__} keeps {'.'.join(map(str, path))} as "
                f"{type(variable).__name__}; a module's state must be nnx.Param alone"
            )


def init_owners(definition: Definition, key: Key[Array, ""], owners: int) -> Parameters:
    """Initial parameters of a letter, stacked along a leading axis of so many owners.

    An owner's weights depend on the key and its index alone, so that reordered models start from
    the same weights. A sublayer may start by its place among the owners, see
    `Sublayer.at_layer`.
    """
    numbers = jnp.arange(owners)
    keys = jax.vmap(lambda owner: jax.random.fold_in(key, owner))(numbers)
    parameters = jax.vmap(definition.init)(keys)
    if "sublayer" not in parameters:  # it has none
        return parameters
    place = functools.partial(definition.module.sublayer.at_layer, layers=owners)
    return {**parameters, "sublayer": jax.vmap(place)(parameters["sublayer"], numbers)}


def residual_outputs(definition: Definition) -> tuple[tuple[str, ...], ...]:
    """The paths, in the tree of a letter, of the parameters that make its sublayer's output.

    Raises ConfigurationError where the kind does not declare them, or declares one that it lacks.
    """
    sublayer = definition.module.sublayer
    if sublayer.residual_outputs is None:
        raise ConfigurationError(
            f"model.stack.scale_output_init=True: kind={sublayer.kind!r} does not say which "
            "parameters make its output; write residual_outputs = ('output.kernel',), or (), in "
            f"class {type(sublayer).__name__}"
        )
    paths = tuple(("sublayer", *path.split(".")) for path in sublayer.residual_outputs)
    known = [
        tuple(entry.key for entry in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(definition.shapes)
    ]
    for path in paths:
        if path not in known:
            raise ConfigurationError(
                f"model.stack.scale_output_init=True: residual_outputs of kind={sublayer.kind!r} "
                f"names {'.'.join(path[1:])!r}, which is none of its parameters: expected one of "
                f"{', '.join('.'.join(p[1:]) for p in known if p[0] == 'sublayer')}"
            )
    return paths


def scale(parameters: Parameters, paths: Collection[tuple[str, ...]], factor: float) -> Parameters:
    """The parameters, with those at the given paths times the factor."""

    def scaled(path, leaf):
        return leaf * factor if tuple(entry.key for entry in path) in paths else leaf

    return jax.tree_util.tree_map_with_path(scaled, parameters)


def count(parameters: Parameters) -> int:
    """Number of scalars in a tree of arrays or shapes."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(parameters))
