"""A run in a notebook: `run = arch.load('runs/…', seed=0)`, then `run.capture(text, names)`."""

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from arch import config as configuration
from arch import training
from arch.checkpoints import Checkpoints
from arch.context import Context
from arch.data.tokenizers import Tokenizer
from arch.generation import decode, sample
from arch.registry import Config, ConfigurationError
from arch.runs import RunFolder


@dataclasses.dataclass
class Run:
    """A trained replica: configuration, model, best (or last) parameters, tokenizer, metrics."""

    folder: RunFolder
    seed: int
    config: Config
    task: Any
    model: Any
    state: training.TrainState
    step: int

    @property
    def parameters(self) -> training.Parameters:
        """Those that the run's results are of: `evaluate.weights` says which."""
        best = self.config.evaluate.weights == "best"
        return self.state.best_parameters if best else self.state.parameters

    @property
    def tokenizer(self) -> Tokenizer:
        return self.task.dataset.tokenizer

    @property
    def metrics(self) -> list[dict]:
        """The lines of metrics.jsonl."""
        return self.folder.seed(self.seed).lines("metrics.jsonl")

    def program(self) -> training.Program:
        mode = training.replica_mode(self.config.train.replicas)
        return training.Program(self.config, self.task, self.model, mode)

    def capture(self, text: str, names: list[str]) -> dict[str, dict[int, np.ndarray]]:
        """What the sublayers record of a text: name → position in the order → array.

        'attention.weights' is (heads, queries, keys). The text is cut at the task's length.
        ConfigurationError where nothing in the model records a name.
        """
        if not hasattr(self.task, "dataset"):
            raise ConfigurationError(
                f"capture: task.kind={self.task.kind!r} reads no plain text; use capture_inputs"
            )
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
            asked = context.replace(record=record)
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
        translation is searched for as the task says.

        ConfigurationError where the task does not speak, or for numbers it cannot work with.
        """
        for name, value, least in (("tokens", tokens, 1), ("top_k", top_k, 0)):
            if value < least:
                raise ConfigurationError(f"generate: {name}={value}: allowed is {least} or more")
        if not temperature >= 0:
            raise ConfigurationError(
                f"generate: temperature={temperature}: allowed is 0 (greedy) or more"
            )
        if not hasattr(self.task, "written_prompt"):
            raise ConfigurationError(
                f"generate: task.kind={self.task.kind!r} makes no text; see `evaluate`"
            )
        asked = self.task.written_prompt(prompt, tokens)
        if self.model.embedding.module.learned is not None:
            longest = asked.tokens.shape[1] + asked.steps
            if longest > self.model.max_length:
                raise ConfigurationError(
                    f"generate: prompt and tokens need {longest} positions; the model has learned "
                    f"{self.model.max_length}"
                )

        def speak(parameters):
            if self.task.decodes:
                return decode(self.model, parameters, asked, self.task.search)
            drawn = jax.random.key(key)
            return sample(self.model, parameters, asked, drawn, temperature, top_k)

        return self.task.text_of(np.asarray(jax.jit(speak)(self.parameters))[0])

    def replay(self) -> tuple[int, int, float]:
        """(first step, last step, largest difference of the state) of training again from the
        older kept checkpoint to the newer. 0.0 where every bit is equal."""
        folder = self.folder.seed(self.seed).checkpoints
        checkpoints = Checkpoints(folder, self.config.save.keep)
        steps = checkpoints.steps()
        if len(steps) < 2:
            raise ConfigurationError(
                f"{folder}: two checkpoints are needed, there are {len(steps)}"
            )
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), self.state)
        older, newer = (checkpoints.restore(step, shapes)[0] for step in steps[-2:])
        checkpoints.close()
        replayed = self._train_on(older, steps[-1])
        pairs = zip(jax.tree.leaves(replayed), jax.tree.leaves(newer), strict=True)
        return steps[-2], steps[-1], max(_difference(a, b) for a, b in pairs)

    def _train_on(self, state: training.TrainState, last: int) -> training.TrainState:
        """The state as a group takes it to step `last`; what it writes on the way is discarded."""
        from arch.group import Group, Member

        held = self.folder.config
        with tempfile.TemporaryDirectory() as scratch:
            folder = RunFolder(Path(scratch))
            member = Member(held["cell"], self.seed, self.config, held["hash"], folder, {}, state)
            schedule = self.model.stack.schedule.as_data()
            group = Group([member], self.program(), schedule, lambda _: None)
            rows = group._start()
            while group.step < last:
                rows = group._to_next_stop(rows)
            for checkpoints in group.checkpoints:
                checkpoints.close()
        return jax.tree.map(lambda a: a[0], jax.device_get(rows))


class Everything(frozenset):
    """A set of names that has them all."""

    def __contains__(self, name) -> bool:
        return True


def _difference(a, b) -> float:
    a, b = np.asarray(a), np.asarray(b)
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))))


def load(path: str | Path, seed: int = 0) -> Run:
    """The run in a folder runs/<name>/<cell>-<hash8>/, at its newest whole checkpoint.

    ConfigurationError where there is none, or where the corpus is no longer the one it was trained
    on.
    """
    from arch.sweeps import state_shapes

    folder = RunFolder(Path(path))
    held = folder.config
    content = dict(held["config"])
    content["plugins"] = [str(folder.path / "plugins" / Path(p).name) for p in content["plugins"]]
    config = configuration.make(**content)
    task, model = training.build(config)
    if configuration.identity(config, task.sha256) != held["hash"]:
        raise ConfigurationError(
            f"{path}: the corpus {task.corpus!r} or the code's defaults have changed since this run"
        )
    own = folder.seed(seed)
    if not own.checkpoints.is_dir():
        raise ConfigurationError(
            f"{path}: seed {seed} has no checkpoint; there are {folder.seeds()}"
        )
    checkpoints = Checkpoints(own.checkpoints, config.save.keep)
    found = checkpoints.newest(state_shapes(config, model))
    checkpoints.close()
    if found is None:
        raise ConfigurationError(f"{own.checkpoints}: no whole checkpoint")
    return Run(folder, seed, config, task, model, found[1], found[0])


def load_all(path: str | Path) -> list[Run]:
    """Every seed of a run."""
    folder = RunFolder(Path(path))
    seeds = [s for s in folder.seeds() if folder.seed(s).checkpoints.is_dir()]
    _ = folder.config
    if not seeds:
        raise ConfigurationError(f"{path}: no seed has a checkpoint")
    return [load(path, seed) for seed in seeds]
