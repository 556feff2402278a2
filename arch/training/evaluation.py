"""Evaluation of a group: sums over batches on the device, means on the host."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from arch import config as configuration
from arch.context import Sums, add_sums, figure
from arch.devices import hosts
from arch.models import families as models
from arch.models.embeddings import axial
from arch.registry import Config, ConfigurationError
from arch.stacks.parameters import Parameters
from arch.tasks.contract import WHOLE, Task, Window
from arch.training.program import Program

BATCHES_A_DISPATCH = 16


def evaluate(
    program: Program,
    parameters: Parameters,
    split: str,
    window: Window = WHOLE,
    batch: int = 0,
) -> list[dict]:
    """A split's figures for each replica, teacher-forced, as the task reports them.

    Args:
        parameters: with a leading replica axis.
        window: how much of the split, in which steps; the default is all of it.
        batch: sequences at once; 0 is as many as in training.
    """
    task, batch = program.task, batch or program.batch
    examples = task.examples(split, window)
    n = len(jax.tree.leaves(examples)[0])
    # at most BATCHES_A_DISPATCH, but no more than there are: padding is work
    together = min(BATCHES_A_DISPATCH, -(-n // batch))
    sums: Sums = {}
    for start in range(0, n, together * batch):
        part = jax.tree.map(lambda a, at=start: a[at : at + together * batch], examples)
        gathered = task.evaluation_batch(split, part, window)
        padded = jax.tree.map(lambda a: _batches(a, together, batch), gathered)
        counted = _batches(np.ones(min(n - start, together * batch), bool), together, batch)
        found = hosts.fetch(program.evaluate(parameters, padded, counted))
        sums = add_sums(sums, jax.tree.map(lambda a: np.asarray(a, np.float64).sum(-1), found))
    figures = []
    for replica in range(len(sums["loss"][0])):
        own_sums = jax.tree.map(lambda a, at=replica: a[at], sums)
        means = {name: float(figure(term)) for name, term in own_sums.items()}
        count = int(round(sums["loss"][1][replica]))
        own = task.figures(split, means, count, window)
        figures.append({**own, **{k: v for k, v in means.items() if k not in own}})
    return figures


def everything(
    program: Program, parameters: Parameters, window: Window = WHOLE
) -> dict[str, list[dict]]:
    """Figures of all splits that the configuration names, whole, for each replica: teacher-forced,
    decoded freely where the task decodes; under 'split@name' by each of `evaluate.models`, and
    under 'split@512' in windows of 512 tokens, of `evaluate.windows`, one behind the other."""
    task, found, window = program.task, {}, window.whole()
    splits = [split for split in program.config.evaluate.splits if split in task.splits]
    for split in splits:
        rows = evaluate(program, parameters, split, window)
        decoded = decode(program, parameters, split)
        found[split] = [{**row, **more} for row, more in zip(rows, decoded, strict=True)]
    for name, config in others(program.config).items():
        model = models.build(config.model, task.vocabulary, task.max_length)
        other = Program(config, task, model, program.platform, devices=program.devices)
        for split in splits:
            found[f"{split}@{name}"] = evaluate(other, parameters, split, window)
    for length in program.config.evaluate.windows:
        asked, batch = Window(window=length), _sequences(program, length)
        for split in splits:
            found[f"{split}@{length}"] = evaluate(program, parameters, split, asked, batch)
    return found


def _sequences(program: Program, length: int) -> int:
    """How many windows of a length are evaluated at once: tokens as in a batch of training, and a
    window at least for each device that batches are divided over."""
    least = program.sizes.data * program.sizes.fsdp
    fitting = program.batch * program.task.length // length
    return max(least, min(program.batch, fitting) // least * least)


def others(config: Config) -> dict[str, Config]:
    """Name → configuration, of each of `evaluate.models`: what the parameters are evaluated by
    besides the model that they were trained in. Where a letter has another kind there, options that
    this kind lacks go.

    Raises ConfigurationError for a field that the model does not have.
    """
    found = {}
    for name, fields in config["evaluate"]["models"].to_dict().items():
        changes = {f"model.{field}": value for field, value in configuration.flat(fields).items()}
        try:
            found[name] = configuration.override(config, changes, on_drop=lambda dropped: None)
        except ConfigurationError as error:
            raise ConfigurationError(f"evaluate.models.{name}: {error}") from None
    return found


def decode(
    program: Program, parameters: Parameters, split: str, window: Window = WHOLE
) -> list[dict]:
    """Figures of a split decoded freely, for each replica; {} where the task does not decode."""
    task, batch = program.task, program.batch
    replicas = len(jax.tree.leaves(parameters)[0])
    if not task.decodes:
        return [{}] * replicas
    examples = task.examples(split, window)
    n = len(jax.tree.leaves(examples)[0])
    gathered = task.evaluation_batch(split, examples, window)
    pieces = []
    for start in range(0, n, batch):
        part = jax.tree.map(lambda a, at=start: a[at : at + batch], gathered)
        padded = jax.tree.map(lambda a: _batches(a, 1, batch)[0], part)
        pieces.append(hosts.fetch(program.decode(parameters, padded)))
    ids = np.concatenate(pieces, axis=1)[:, :n]
    return [task.decoded_figures(split, ids[replica], gathered) for replica in range(replicas)]


def _batches(a: np.ndarray, together: int, batch: int) -> jax.Array:
    """(windows, …) → (together, batch, …), filled up with zeros, which have no weight."""
    fill = together * batch - len(a)
    a = np.pad(a, [(0, fill), *itertools.repeat((0, 0), a.ndim - 1)])
    return jnp.asarray(a.reshape(together, batch, *a.shape[1:]))


def check(config: Config, task: Task) -> None:
    """Splits and windows that this task and model can evaluate."""
    settings = config["evaluate"]
    task.check_evaluation(settings)
    if settings["windows"]:
        _check_windows(settings, task)
    _check_length(config, task, "window", settings["window"] or task.length)
    for length in settings["windows"]:
        _check_length(config, task, "windows", length)
    if settings["models"]:
        own = _shapes(config, task)
        for name, other in others(config).items():
            if _shapes(other, task) != own:
                raise ConfigurationError(
                    f"evaluate.models.{name}: it has other parameters than the model that is "
                    "trained; allowed are changes that leave names and shapes as they are"
                )


def _check_windows(settings: Config, task: Task) -> None:
    """`evaluate.windows`: of a task that slides them, each a length, each once."""
    windows = tuple(settings["windows"])
    if not task.slides:
        raise ConfigurationError(
            f"evaluate.windows={windows!r}: allowed is () with task.kind={task.kind!r}, whose "
            "examples have the length that they have"
        )
    if any(type(n) is not int or n < 1 for n in windows) or len(set(windows)) < len(windows):
        raise ConfigurationError(
            f"evaluate.windows={windows!r}: expected lengths in tokens, each once, such as (128, "
            "512)"
        )
    for name in settings["models"]:
        if name in map(str, windows):
            raise ConfigurationError(
                f"evaluate.models.{name}: the figures of evaluate.windows={windows!r} are called "
                "so; choose another name"
            )


def _check_length(config: Config, task: Task, option: str, length: int) -> None:
    """That the model has positions for windows so long."""
    embedding = config["model"]["embedding"]
    if embedding["positions"] == "axial":
        shape = axial.shape_for(embedding["axial_shape"], task.max_length)
        if length > math.prod(shape):
            raise ConfigurationError(
                f"evaluate.{option}={length}: axial positions end at {math.prod(shape)}, the "
                f"product of model.embedding.axial_shape={shape}"
            )
    if embedding["positions"] == "learned" and length > task.max_length:
        raise ConfigurationError(
            f"evaluate.{option}={length}: learned positions end at task.length={task.length}"
        )


def _shapes(config: Config, task: Task) -> dict:
    model = models.build(config["model"], task.vocabulary, task.max_length)
    leaves = jax.tree_util.tree_leaves_with_path(model.shapes)
    return {str(path): leaf.shape for path, leaf in leaves}
