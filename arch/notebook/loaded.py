"""A model with its parameters, its task and its tokenizer, for commands and notebooks."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arch.context import Context
from arch.data.tokenizers.kinds import Tokenizer
from arch.models.generation import Blanks, Prompt, decode, fill, sample
from arch.registry import Config, ConfigurationError
from arch.stacks.parameters import Parameters
from arch.sweeps import machine
from arch.tasks.contract import Task
from arch.training.program import Program


@dataclasses.dataclass
class Loaded:
    """Configuration, task, model, parameters, tokenizer. Of a run, the parameters are those that
    its results are of: `evaluate.weights` says which."""

    note = ""  # what is not evaluated, and why

    config: Config
    task: Task
    model: Any
    parameters: Parameters

    @property
    def status(self) -> str:
        """What became of its training."""
        return "finished"

    @property
    def origin(self) -> Mapping[str, object]:
        """Which replica of a run the parameters are of, at which step; nothing of what others
        trained."""
        return {}

    @property
    def tokenizer(self) -> Tokenizer:
        """The task's; ConfigurationError where the task reads no text."""
        return self.task.tokenizer

    def program(self) -> Program:
        """The program that evaluates it, compiled for this machine."""
        return Program(self.config, self.task, self.model, machine.platform())

    def capture(self, text: str, names: list[str]) -> dict[str, dict[int, np.ndarray]]:
        """What the sublayers record of a text: name → position in the order → array.

        'attention.weights' is (heads, queries, keys). The text is cut at the task's length.
        ConfigurationError where nothing in the model records a name, or the task reads no text.
        """
        return self.capture_ids(self.tokenizer.encode(text)[: self.task.length], names)

    def capture_ids(self, ids: np.ndarray, names: list[str]) -> dict[str, dict[int, np.ndarray]]:
        """`capture` of token ids."""
        if len(ids) == 0:
            raise ConfigurationError("capture: the text has no tokens")
        return self.capture_inputs(jnp.asarray(ids, jnp.int32)[None], names, Context())

    def capture_inputs(
        self, inputs: Any, names: list[str], context: Context
    ) -> dict[str, dict[int, np.ndarray]]:
        """`capture` of what the model reads, a batch of one; the context has its masks."""

        def run(parameters, inputs, record):
            asked = context.replace(record=record, platform=machine.platform())
            return self.model.hidden(parameters, inputs, asked)[1].record

        record = jax.jit(run, static_argnums=2)(self.parameters, inputs, frozenset(names))
        if missing := set(names) - set(record):
            every = functools.partial(run, record=Everything("*"))
            known = jax.eval_shape(every, self.parameters, inputs)
            raise ConfigurationError(
                f"capture: nothing records {min(missing)!r}; "
                f"recorded are {', '.join(sorted(known))}"
            )
        record = jax.device_get(record)
        return {k: {at: array[0] for at, array in sorted(v.items())} for k, v in record.items()}

    def generate(
        self, prompt: str, tokens: int = 100, temperature: float = 0.8, top_k: int = 0, key: int = 0
    ) -> str:
        """A text of the model's own: a language model goes on with the prompt, for `tokens` tokens
        drawn at `temperature` (0: greedily) from the `top_k` most probable (0: from all); a
        translation is searched for as the task says; a masked language model puts the most probable
        token in the place of each [MASK].

        ConfigurationError where the task does not speak, or for numbers it cannot work with.
        """
        for name, value, least in (("tokens", tokens, 1), ("top_k", top_k, 0)):
            if value < least:
                raise ConfigurationError(f"generate: {name}={value}: allowed is {least} or more")
        if not temperature >= 0:
            raise ConfigurationError(
                f"generate: temperature={temperature}: allowed is 0 (greedy) or more"
            )
        asked = self.task.written_prompt(prompt, tokens)
        if isinstance(asked, Prompt) and (learned := self.model.embedding.module.limit):
            longest = asked.tokens.shape[1] + asked.steps
            if longest > learned:
                raise ConfigurationError(
                    f"generate: prompt and tokens need {longest} positions; the model has learned "
                    f"{learned}"
                )

        platform = machine.platform()

        def speak(parameters):
            if isinstance(asked, Blanks):
                return fill(self.model, parameters, asked, platform)
            if self.task.decodes:
                return decode(self.model, parameters, asked, self.task.search, platform=platform)
            drawn = jax.random.key(key)
            return sample(
                self.model, parameters, asked, drawn, temperature, top_k, platform=platform
            )

        return self.task.text_of(np.asarray(jax.jit(speak)(self.parameters))[0])


class Everything(frozenset):
    """A set of names that has them all."""

    def __contains__(self, name) -> bool:
        return True
