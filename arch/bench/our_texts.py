"""The process of our side where text is made, `python -m arch.bench.our_texts`."""

import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arch.bench.ours import opened
from arch.bench.protocol import serve
from arch.bench.texts import PROMPT
from arch.models.choices import Choice
from arch.models.drawing import TOGETHER, continuation
from arch.models.generation import Prompt
from arch.runs import provenance


class OurTexts:
    """A cell at its initial weights, which goes on with a prompt greedily.

    Args:
        experiment, overrides, cell: see `ours.opened`.
        tokens: of a text, after its prompt.
        cached: by cached steps; else every token is computed from the whole text.
    """

    def __init__(
        self, experiment: str, overrides: Mapping[str, str], cell: str, tokens: int, cached: bool
    ):
        _, task, self.model, self.platform = opened(experiment, overrides, cell)
        self.parameters = jax.jit(self.model.init)(jax.random.key(0))
        ids = np.random.default_rng(0).integers(task.vocabulary, size=(1, PROMPT))
        length = jnp.array([PROMPT])
        self.prompt = Prompt(None, jnp.asarray(ids, jnp.int32), length, tokens, -1)
        self.cached = cached
        start = time.perf_counter()
        next(self._drawn())
        self.about: dict[str, Any] = {
            "parameters": self.model.parameter_counts()["unique"],
            "versions": provenance.versions(),
            "compile_seconds": time.perf_counter() - start,
        }

    def text(self, seconds: float) -> dict[str, float]:
        """Tokens made in about so long: whole texts with their prompts by cached steps; else a part
        of a text after its prompt, since every token costs as much as any other."""
        made, taken = 0, 0.0
        while taken < seconds:
            drawn = self._drawn()
            if not self.cached:
                next(drawn)  # with the prompt; what follows comes in whole dispatches
            start = time.perf_counter()
            while some := len(list(itertools.islice(drawn, TOGETHER))):
                made += some
                if not self.cached and taken + time.perf_counter() - start >= seconds:
                    break
            taken += time.perf_counter() - start
        return {"tokens": made, "seconds": taken}

    def _drawn(self) -> Iterator[int]:
        key, choice = jax.random.key(0), Choice(temperature=0.0)
        return continuation(
            self.model, self.parameters, self.prompt, key, choice, self.platform, self.cached
        )


if __name__ == "__main__":
    serve(OurTexts)
