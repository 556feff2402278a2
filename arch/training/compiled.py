"""Functions compiled once for the shapes that they are called with, and what that cost."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp


class Compiled:
    """The compiled functions of one program signature.

    Attributes:
        seconds, cpu_seconds: spent compiling, all functions together, by the clock and by the
            processors.
        peak_memory_bytes: of the function that needs most, as the compiler counts it.
    """

    def __init__(self, platform: str):
        self.platform = platform
        self.seconds = self.cpu_seconds = 0.0
        self.peak_memory_bytes = 0
        self._known: dict[tuple, Any] = {}

    def call(
        self,
        name: str,
        function: Callable,
        *inputs: Any,
        donate: tuple[int, ...] = (),
        static: Hashable = None,
    ) -> Any:
        """function(*inputs), compiled at the first call of this name with inputs of these shapes.

        donate: positions of inputs whose memory the outputs may take over.
        static: what else the function depends on, beside its inputs and the signature.
        """
        leaves, tree = jax.tree.flatten(inputs)
        key = name, static, tree, tuple((jnp.shape(a), jnp.result_type(a)) for a in leaves)
        if key not in self._known:
            self._known[key] = self._compile(name, function, inputs, donate)
        return self._known[key](*inputs)

    def count(self, name: str) -> int:
        """How often the function of a name was compiled."""
        return sum(key[0] == name for key in self._known)

    def _compile(self, name: str, function: Callable, inputs: tuple, donate: tuple[int, ...]):
        start, cpu = time.perf_counter(), time.process_time()
        lowered = jax.jit(function, donate_argnums=donate).lower(*inputs)
        # random bits take LLVM ten times as long at its highest level, for the same bytes
        quick = name == "init" and self.platform == "cpu"
        options = {"xla_backend_optimization_level": 1} if quick else None
        compiled = lowered.compile(compiler_options=options)
        self.seconds += time.perf_counter() - start
        self.cpu_seconds += time.process_time() - cpu
        memory = compiled.memory_analysis()
        if memory is not None:
            held = memory.argument_size_in_bytes + memory.output_size_in_bytes
            held += memory.temp_size_in_bytes - memory.alias_size_in_bytes
            self.peak_memory_bytes = max(self.peak_memory_bytes, held)
        return compiled
