"""Functions compiled once for the shapes that they are called with, and what that cost."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp

from arch.training import executables
from arch.training.executables import Executable


class Compiled:
    """The compiled functions of one program signature.

    Args:
        platform: cpu | gpu | tpu that they are compiled for.
        made_from: the signature of the program, by which other processes know them again; '' where
            they are not to be kept.

    Attributes:
        seconds, cpu_seconds: spent compiling, all functions together, by the clock and by the
            processors.
        peak_memory_bytes: while that function runs that needs most, as the compiler counts it, with
            what lay beside it.
    """

    def __init__(self, platform: str, made_from: str = ""):
        self.platform, self.made_from = platform, made_from
        self.seconds = self.cpu_seconds = 0.0
        self.peak_memory_bytes = 0
        self._known: dict[tuple, Executable] = {}

    def call(
        self,
        name: str,
        function: Callable,
        *inputs: Any,
        donate: tuple[int, ...] = (),
        static: Hashable = None,
        places: Any = None,
        beside: int = 0,
    ) -> Any:
        """function(*inputs), compiled at the first call of this name with inputs of these shapes.

        donate: positions of inputs whose memory the outputs may take over.
        static: what else the function depends on, beside its inputs and the signature.
        places: the shardings of what it returns, which the signature and the inputs settle; None
            where the compiler may choose.
        beside: bytes in memory while it runs that it does not know of.
        """
        leaves, tree = jax.tree.flatten(inputs)
        key = name, static, tree, tuple((jnp.shape(a), jnp.result_type(a)) for a in leaves)
        if key not in self._known:
            start, cpu = time.perf_counter(), time.process_time()
            found = self._kept(name, function, inputs, donate, static, places)
            self._known[key] = found
            self.seconds += time.perf_counter() - start
            self.cpu_seconds += time.process_time() - cpu
        found = self._known[key]
        self.peak_memory_bytes = max(self.peak_memory_bytes, found.bytes + beside)
        return found.call(*inputs)

    def count(self, name: str) -> int:
        """How often the function of a name was compiled."""
        return sum(key[0] == name for key in self._known)

    def _kept(
        self,
        name: str,
        function: Callable,
        inputs: tuple,
        donate: tuple[int, ...],
        static: Hashable,
        places: Any,
    ) -> Executable:
        """The executable that an earlier process kept, or a new one, which is kept."""
        if not self.made_from:
            return self._compile(name, function, inputs, donate, places)
        key = executables.key(self.made_from, name, static, donate, inputs)
        found = executables.load(key)
        if found is None:
            with executables.compiled_to_be_kept():
                found = self._compile(name, function, inputs, donate, places)
            executables.save(key, found)
        return found

    def _compile(
        self, name: str, function: Callable, inputs: tuple, donate: tuple[int, ...], places: Any
    ) -> Executable:
        more = {} if places is None else {"out_shardings": places}
        lowered = jax.jit(function, donate_argnums=donate, **more).lower(*inputs)
        # random bits take LLVM ten times as long at its highest level, for the same bytes
        quick = name == "init" and self.platform == "cpu"
        options = {"xla_backend_optimization_level": 1} if quick else None
        compiled = lowered.compile(compiler_options=options)
        memory = compiled.memory_analysis()
        if memory is None:
            return Executable(compiled, 0)
        held = memory.argument_size_in_bytes + memory.output_size_in_bytes
        return Executable(compiled, held + memory.temp_size_in_bytes - memory.alias_size_in_bytes)
