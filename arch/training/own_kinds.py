"""Sublayers that are not of this package are tried before anything of them is compiled."""

import functools

import jax
from ml_collections import FrozenConfigDict

from arch.context import Context
from arch.models.families import Model
from arch.registry import Config, ConfigurationError, is_foreign, sublayers
from arch.stacks.residual import SURROUNDINGS
from arch.sublayers import trials


def try_own(config: Config, model: Model) -> None:
    """Try every letter of the model whose kind is a plugin's or an experiment's, once a process.

    Raises ConfigurationError, in one line with letter, kind, file and line, for what a kind
    promises and does not keep: see `arch.sublayers.trials`.
    """
    for stack in model.stacks.values():
        for letter in stack.letters:
            binding = config["model"]["sublayers"][letter]
            cls = sublayers.get(binding["kind"])
            if is_foreign(cls):
                options = {k: v for k, v in binding.items() if k not in ("kind", *SURROUNDINGS)}
                try:
                    tried(cls, FrozenConfigDict(options), config["model"]["width"])
                except ConfigurationError as error:
                    raise ConfigurationError(f"model.sublayers.{letter}: {error}") from None


@functools.lru_cache(maxsize=128)
def tried(cls: type, options: FrozenConfigDict, width: int) -> tuple[str, ...]:
    """The names of the trials that a kind with these options passes; see `trials.try_out`."""
    memory = jax.random.normal(jax.random.key(2), (trials.BATCH, trials.LENGTH - 4, width))
    return tuple(
        trials.try_out(
            lambda rngs: cls(width, **options, rngs=rngs), width,
            f"kind={cls.kind!r}", Context(memory=memory),
        )
    )  # fmt: skip
