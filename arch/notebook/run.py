"""A run in a notebook: `run = arch.load('runs/…', seed=0)`, then `run.capture(text, names)`; or a
model that was saved, or one in Hugging Face's format, `arch.load('bert-base-uncased')`."""

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from arch import config as configuration
from arch.huggingface import weights as huggingface
from arch.notebook import imported, saved
from arch.notebook.contrasts import Contrast, contrast
from arch.notebook.loaded import Loaded
from arch.registry import ConfigurationError
from arch.report.cards import said_figures
from arch.report.curves import Curve, curve_rows, losses_of
from arch.report.learning import SPLITS
from arch.report.lines import Line
from arch.report.seeds import Seed, read_seed, seed_fields
from arch.runs import exports
from arch.runs.checkpoints import Checkpoints
from arch.runs.folders import RunFolder
from arch.sweeps import machine
from arch.tasks import contract
from arch.training.group import Group
from arch.training.member import Member
from arch.training.program import build
from arch.training.state import TrainState, shapes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# of a run's summary, what a saved copy keeps
KEPT = (
    "steps", "tokens", "evaluations", "corpus", "numerics", "versions", "git", "device",
    "device_name", "cores",
)  # fmt: skip


@dataclasses.dataclass(repr=False)
class Run(Loaded):
    """A trained replica: beside what `Loaded` says, its metrics, and training again."""

    folder: RunFolder
    seed: Seed
    state: TrainState
    step: int

    @property
    def status(self) -> str:
        """finished | nan | diverged, and unfinished while its training may go on."""
        summary = self.folder.seed(self.seed).summary
        return "unfinished" if summary is None else summary["status"]

    @property
    def origin(self) -> Mapping[str, object]:
        """seed, and data_seed where that is another; checkpoint: its step; weights: last | best;
        step: that of the weights."""
        best = self.config.evaluate.weights == "best"
        seed = seed_fields(self.seed)
        where = {**seed, "checkpoint": self.step, "weights": "best" if best else "last"}
        return {**where, "step": self._best_step() if best else self.step}

    @property
    def provenance(self) -> Mapping[str, Any]:
        """See `Loaded.provenance`; of a run that has not finished, without figures."""
        held, summary = self.folder.config, self.folder.seed(self.seed).summary or {}
        known = {name: summary[name] for name in KEPT if name in summary}
        return {
            "cell": held["cell"], "hash": held["hash"], "status": self.status,
            **known, **self.origin,
        }  # fmt: skip

    def _best_step(self) -> int:
        """The step that the best parameters are of; 0 before the first validation."""
        best = float(self.state.best_loss)
        steps = [line["step"] for line in self.metrics if line.get("split") == "valid"
                 and line["step"] <= self.step and np.float32(line["loss"]) == best]  # fmt: skip
        return min(steps, default=0)

    @property
    def metrics(self) -> list[dict]:
        """The lines of metrics.jsonl."""
        return self.folder.seed(self.seed).lines("metrics.jsonl")

    @property
    def title(self) -> str:
        """The first line of its card."""
        return f"{self.folder.config['cell']}, seed {self.seed}: {self.status} at step {self.step}"

    def facts(self) -> dict[str, str]:
        """What `Loaded.facts` says, and figures: of each split, or as far as it was trained."""
        summary = self.folder.seed(self.seed).summary or {}
        found = {split: said_figures(v) for split, v in summary.get("evaluations", {}).items()}
        if not found:
            found = {line.get("split", "train"): said_figures(line) for line in self.metrics}
        return {**super().facts(), **found, "folder": str(self.folder.path)}

    def curves(self) -> list[dict[str, int | float | str]]:
        """Its losses as rows of seed, split, step, tokens, flops and loss, for pandas: train as it
        was logged, the mean in nats since the line before; valid of every evaluation."""
        tokens = self.config.train.batch * self.task.tokens_per_sequence
        flops = self.model.flops_per_token(self.task.length)
        return [
            {**seed_fields(self.seed), **row} for row in curve_rows(self.metrics, tokens, flops)
        ]

    def plot_curves(self, *others: "Run") -> "Figure":
        """Both losses of all seeds of this run, and of others, over tokens and over FLOPs of
        training, as a matplotlib Figure: seeds thin, their mean bold."""
        from arch.notebook import plots

        return plots.curves({run.name: run.all_curves() for run in (self, *others)})

    @property
    def name(self) -> str:
        """Its cell and the beginning of its hash, as its folder is called."""
        return self.folder.path.name

    def all_curves(self) -> dict[str, list[Curve]]:
        """Split → the curves of every seed in its folder that has any."""
        rate = self.config.train.batch * self.task.tokens_per_sequence
        flops = self.model.flops_per_token(self.task.length)
        logs = [self.folder.seed(seed).lines("metrics.jsonl") for seed in self.folder.seeds()]
        return {
            split: [
                Curve(tuple(s for s, _ in points), tuple(x for _, x in points), rate, flops, None)
                for points in (losses_of(log, split) for log in logs)
                if points
            ]
            for split in SPLITS
        }

    def compare(self, other: "Run", metric: str = "loss", split: str = "valid") -> Contrast:
        """This run minus another in a metric of their results, paired over all the seeds that both
        have finished, with the interval of tables.

        ConfigurationError where no seed is finished in both, where they were not measured alike,
        and where the other is no run.
        """
        if not isinstance(other, Run):
            raise ConfigurationError(
                f"compare: {type(other).__name__}: expected a run, arch.load('runs/NAME/CELL-HASH')"
            )
        return contrast(self.lines(), other.lines(), metric, split)

    def lines(self) -> list[Line]:
        """The summaries of all seeds in its folder that have ended."""
        ends = [self.folder.seed(seed).summary for seed in self.folder.seeds()]
        return [end for end in ends if end is not None]

    def on(self, corpus: str) -> "Run":
        """The same model to be evaluated on another corpus, in tokens of its own tokenizer."""
        if not self.task.any_text:
            raise ConfigurationError(
                f"corpus={corpus!r}: task.kind={self.task.kind!r} is evaluated on its own data "
                "alone; language_model and masked_language_model on any"
            )
        config = configuration.override(self.config, {"task.corpus": corpus})
        task = contract.build(config.task)
        task.only_evaluate(self.tokenizer)
        return dataclasses.replace(self, config=config, task=task)

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
        like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), self.state)
        older, newer = (checkpoints.restore(step, like)[0] for step in steps[-2:])
        checkpoints.close()
        replayed = self._train_on(older, steps[-1])
        pairs = zip(jax.tree.leaves(replayed), jax.tree.leaves(newer), strict=True)
        return steps[-2], steps[-1], max(_difference(a, b) for a, b in pairs)

    def _train_on(self, state: TrainState, last: int) -> TrainState:
        """The state as a group takes it to step `last`; what it writes on the way is discarded."""
        held = self.folder.config
        with tempfile.TemporaryDirectory() as scratch:
            folder = RunFolder(Path(scratch))
            member = Member(
                held["cell"], self.seed, self.config, held["hash"], folder,
                details={}, device=machine.device(), state=state,
            )  # fmt: skip
            group = Group([member], self.program(), report=lambda _: None)
            rows = group.start()
            while group.step < last:
                rows = group.advance(rows)
            for checkpoints in group.checkpoints:
                checkpoints.close()
        return jax.tree.map(lambda a: a[0], jax.device_get(rows))


def _difference(a, b) -> float:
    a, b = np.asarray(a), np.asarray(b)
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))))


def load(path: str | Path, seed: Seed | str = 0, corpus: str = "", trust: bool = False) -> Loaded:
    """The run in a folder runs/<name>/<cell>-<hash8>/, at its newest whole checkpoint; or the model
    in a directory that `save` wrote, or in Hugging Face's format: these have one seed, 0. See
    `saved.load` and `imported.load`.

    Args:
        corpus: to evaluate on; empty is what the run was trained on, of an imported model stdlib.
        trust: import the plugins in the run's folder, whoever wrote them; else they must be equal
            to the files that its configuration names on this machine.

    ConfigurationError where neither is there, where the corpus or the tokenizer's file is no
    longer the one the run was trained with, and for plugins that are not trusted.
    """
    model = _no_run(path, corpus, trust)
    if model is not None:
        if str(seed) != "0":
            raise ConfigurationError(f"{path}: seed={seed}: {model.called} has seed 0 alone")
        return model
    try:
        meant = read_seed(str(seed))
    except ValueError as error:
        raise ConfigurationError(f"{path}: seed={error}") from None
    run = _run(path, meant, trust)
    return run.on(corpus) if corpus else run


def _no_run(path: str | Path, corpus: str, trust: bool) -> Loaded | None:
    """The saved or imported model in a directory; None where it has neither."""
    if exports.is_saved(path):
        return saved.load(path, corpus, trust)
    return imported.load(path, corpus) if huggingface.is_checkpoint(path) else None


def load_all(path: str | Path, corpus: str = "", trust: bool = False) -> Sequence[Loaded]:
    """Every seed of a run, or a saved or imported model; see `load`."""
    model = _no_run(path, corpus, trust)
    if model is not None:
        return [model]
    runs = load_runs(path, trust)
    return [run.on(corpus) for run in runs] if corpus else runs


def load_runs(path: str | Path, trust: bool = False) -> list[Run]:
    """Every seed of a run of our own; ConfigurationError where it is no such run."""
    if exports.is_saved(path) or huggingface.is_checkpoint(path):
        what = "a saved" if exports.is_saved(path) else "an imported"
        raise ConfigurationError(
            f"{path}: {what} model has no checkpoints of its training to replay between; "
            "allowed is a run's folder, runs/<name>/<cell>-<hash8>"
        )
    folder = RunFolder(Path(path))
    seeds = [s for s in folder.seeds() if folder.seed(s).checkpoints.is_dir()]
    _ = folder.config
    if not seeds:
        raise ConfigurationError(f"{path}: no seed has a checkpoint")
    return [_run(path, seed, trust) for seed in seeds]


def _run(path: str | Path, seed: Seed, trust: bool) -> Run:
    folder = RunFolder(Path(path))
    held = folder.config
    config = configuration.make(**{**held["config"], "plugins": folder.plugins(trust)})
    task, model = build(config, machine.platform())
    if configuration.identity(config, task.sha256) != held["hash"]:
        raise ConfigurationError(
            f"{path}: the corpus {task.corpus!r}, the tokenizer's file or the code's defaults have "
            "changed since this run"
        )
    own = folder.seed(seed)
    if not own.checkpoints.is_dir():
        there = ", ".join(map(str, folder.seeds()))
        raise ConfigurationError(f"{path}: seed {seed} has no checkpoint; there are {there}")
    checkpoints = Checkpoints(own.checkpoints, config.save.keep)
    found = checkpoints.newest(shapes(config, model))
    checkpoints.close()
    if found is None:
        raise ConfigurationError(f"{own.checkpoints}: no whole checkpoint")
    step, state = found[0], found[1]
    # what is restored is NumPy's, which a traced index does not index
    which = "best_parameters" if config.evaluate.weights == "best" else "parameters"
    parameters = jax.tree.map(jnp.asarray, getattr(state, which))
    state = state._replace(**{which: parameters})
    return Run(config, task, model, parameters, folder, seed, state, step)
