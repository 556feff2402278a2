"""Architecture variants: an order of sublayers, a stack that runs it, a table that can be trusted.

    launch.py      parses a command line and hands it over        experiments/  one file per table
    commands/      one file per command                  notebook/   `arch.load`, `arch.results`
    bench/         our training step beside a peer's, in turn
    sweeps/        cells × seeds, resumed where they stood, here or in worker processes
    training/      init, step, evaluate as pure functions; groups of replicas; describe, bench
    huggingface/   weights of BERT, GPT-2, Reformer, Mamba, RWKV, Jamba, …, both ways
    runs/          folders of runs, checkpoints, where a result comes from
    config/        defaults, overrides, identity
    tasks/         data, objective and metrics: one file or folder per kind
    models/        embedding → stack → head; families, embeddings/, heads/, generation;
                   `arch.parameters`, the tree of them by path
    stacks/        how an order runs in depth: norm, residual, sharing; universal, reversible
    sublayers/     attention/, benes/, feed-forward, LSTM, convolution: one file per kind
    optimizers/    optax by name, schedules              devices/    what depends on the machine
    report/        results/ to tables, figures and pages; statistics; helpers for experiments
    data/          corpora/, tokenizers/, batches/, generated/ (made on the device)
    variants/      papers' names for models              plugins.py  files of the user's
    layers.py      projection, norm, activations         checks.py   options refused in one line
    order.py       'sf' strings: parse, expand, compress, generate
    registry.py    kinds by name, with their options     context.py  what a sublayer is given

A file imports from rooms below its own in this list and never from one above; `make lint` checks.

Glossary: an *order* is a string of letters, each a *sublayer*; a *stack* runs it; a *task* has data
and objective; a *variant* is a paper's point in that space; a *cell* is one configuration of an
*experiment*; a *group* is the (cell, seed) *replicas* that share one compiled program.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from arch.report.seeds import Seed
from arch.runs.provenance import NUMERICS, version

if TYPE_CHECKING:
    from arch.models import parameters

__all__ = ["NUMERICS", "__version__", "load", "parameters", "results"]

__version__ = version()


def load(path: str | Path, seed: Seed | str = 0, corpus: str = "", trust: bool = False):
    """A trained run for a notebook, or a model in Hugging Face's format: see
    `arch.notebook.run`."""
    from arch.notebook import run as notebook

    return notebook.load(path, seed, corpus, trust)


def results(name: str | Path):
    """The results of a name for a notebook, as rows for pandas and values by seed: see
    `arch.notebook.results`."""
    from arch.notebook import results as notebook

    return notebook.results(name)


def __getattr__(name: str) -> ModuleType:
    """`arch.parameters`, which imports jax: not before it is asked for."""
    if name == "parameters":
        return importlib.import_module("arch.models.parameters")
    raise AttributeError(f"module 'arch' has no attribute {name!r}")
