"""What the tests share: strict promotion, a quick compiler, a cache of their own, a small corpus,
small models."""

import os
import random
import shutil
from types import SimpleNamespace
from unittest import mock

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch import config
from arch.devices import compilation_cache
from arch.report import figures
from arch.report.seeds import both
from arch.training.program import Program, build
from arch.training.replica import STEPS_A_DISPATCH
from arch.training.state import Swept

jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile("untimed", deadline=None)  # others may use the machine too
hypothesis.settings.load_profile("untimed")
KEPT = 1 << 30  # bytes of compiled programs that runs of the suite leave to the next

os.environ["ARCH_PROGRAMS"] = ""  # tests change code while they run: no program outlives them


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory):
    """Tokens that tests make are kept in a folder of the session, never in the user's cache."""
    before = os.environ.get("ARCH_CACHE_DIR")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # by all workers
    os.environ["ARCH_CACHE_DIR"] = str(shared / "cache")
    yield
    if before is None:
        del os.environ["ARCH_CACHE_DIR"]
    else:
        os.environ["ARCH_CACHE_DIR"] = before


IMAGE = figures.image


def _blank(figure, kind):
    return b"<svg xmlns='http://www.w3.org/2000/svg'/>"


@pytest.fixture(scope="session", autouse=True)
def _reports_draw_nothing():
    """To draw the pictures of a report takes longer than to train for it. A test that looks at
    them takes `pictures`."""
    with mock.patch.object(figures, "image", _blank):
        yield


@pytest.fixture
def pictures():
    """Draw the pictures of reports."""
    with mock.patch.object(figures, "image", IMAGE):
        yield


def pytest_addoption(parser):
    parser.addoption(
        "--full-compile", action="store_true", help="compile every test as users do: takes longer"
    )


def pytest_configure(config):
    """Compile without most of XLA's optimisations, and what was compiled before not again, here and
    in processes that tests start: most of the suite's time is the compiler's. A test of what the
    compiler may break takes `full_compile`.

    Programs are kept by their content in pytest's own folder, so that a second run, or the other
    worker's, finds them.
    """
    settings: dict[str, object] = {}
    if not config.getoption("--full-compile"):
        settings["jax_disable_most_optimizations"] = True
    if config.pluginmanager.hasplugin("cacheprovider"):
        kept = config.cache.mkdir(f"xla-{compilation_cache.machine()}")
        if not hasattr(config, "workerinput") and _size(kept) > KEPT:
            shutil.rmtree(kept)
        settings["jax_compilation_cache_dir"] = str(kept)
        settings["jax_persistent_cache_min_compile_time_secs"] = 0
        settings["jax_persistent_cache_min_entry_size_bytes"] = -1
    for name, value in settings.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


def _size(folder):
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.fixture
def full_compile():
    """Compile as users do. What was compiled before stays: such a test has functions of its own."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def float64():
    """In float64: for what is to agree with NumPy, or with finite differences, to the last
    digits."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> str:
    """A name for 4,000, 500 and 300 characters of made-up words: train, valid, test."""
    folder, source = tmp_path_factory.mktemp("corpus"), random.Random(0)
    words = ["an", "order", "of", "sublayers", "is", "a", "string", "to", "be", "read", "twice"]
    for split, size in {"train": 4000, "valid": 500, "test": 300}.items():
        text = ""
        while len(text) < size:
            text += source.choice(words) + source.choice("     \n")
        (folder / f"{split}.txt").write_text(text[: size - 1] + "\n")
    return f"file:{folder}"


@pytest.fixture(scope="session")
def tiny_config(corpus):
    """config.make, a section's fields over those of a model of width 16 that trains in moments."""
    tiny = {
        "model": {
            "width": 16,
            "order": "(sf)2",
            "sublayers": {
                "s": {"kind": "attention", "heads": 2},
                "f": {"kind": "feed_forward", "expand": 2.0},
            },
        },
        "task": {"corpus": corpus, "tokenizer": "characters", "length": 8},
        "train": {"steps": 40, "batch": 4, "optimizer": {"learning_rate": 1e-2}},
    }

    def make(**parts):
        return config.make(**{**parts, **{k: tiny[k] | parts.get(k, {}) for k in tiny}})

    return make


@pytest.fixture(scope="session")
def train():
    """A function: train (configuration, seed) pairs for dispatches of so many steps.

    Returns what came of it: the program, the state and the metrics, (R, steps).
    """

    def run(members, dispatches=(10,), state=None, program=None):
        configuration = members[0][0]
        program = program or Program(configuration, *build(configuration))
        task = program.task
        swept = jax.tree.map(jnp.asarray, Swept.of(members))
        seeds, datas = np.array([both(seed) for _, seed in members], np.int32).T
        state = program.init(seeds) if state is None else state
        state = jax.tree.map(jnp.array, state)  # a copy: the program takes it over
        first, metrics = int(np.max(state.step)), []
        for count in dispatches:
            if not task.streamed:
                source = task.source()
            else:
                indices = program.host_indices(datas, first, count)
                gathered = task.gather(task.stream(), indices)
                fill = STEPS_A_DISPATCH - count
                source = jnp.asarray(np.pad(gathered, [(0, 0), (0, fill), (0, 0), (0, 0)]))
            state, more = program.train(state, swept, source, first, count)
            metrics.append(jax.tree.map(lambda a, n=count: np.asarray(a[:, :n]), more))
            first += count
        metrics = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *metrics)
        return SimpleNamespace(
            program=program, state=jax.device_get(state), metrics=metrics, task=task
        )

    return run


@pytest.fixture(scope="session")
def row():
    """A function: one replica's part of a group's tree."""
    return lambda tree, index: jax.tree.map(lambda a: a[index], jax.device_get(tree))


@pytest.fixture(scope="session")
def same_bytes():
    """A function: whether two trees are alike in structure, types and every bit."""

    def same(first, second):
        a, b = jax.tree.flatten(first), jax.tree.flatten(second)
        return a[1] == b[1] and all(
            np.asarray(x).dtype == np.asarray(y).dtype
            and np.asarray(x).tobytes() == np.asarray(y).tobytes()
            for x, y in zip(a[0], b[0], strict=True)
        )

    return same


@pytest.fixture(scope="session")
def assert_close():
    """A function: assert that leaves differ by at most `tolerance` of the leaf's largest element.

    A leaf below a hundredth of the tree's largest element is held to that instead: the gradient of
    a key's bias is 0 but for rounding.
    """

    def check(actual, expected, tolerance=1e-5):
        actual, structure = jax.tree_util.tree_flatten_with_path(actual)
        expected, other = jax.tree_util.tree_flatten_with_path(expected)
        assert structure == other
        assert actual, "two empty trees are no comparison"
        floor = max(np.abs(np.asarray(b, np.float64)).max(initial=0) for _, b in expected) / 100
        for (path, a), (_, b) in zip(actual, expected, strict=True):
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            assert a.shape == b.shape, f"{jax.tree_util.keystr(path)}: {a.shape}, {b.shape}"
            apart, largest = np.abs(a - b).max(initial=0), np.abs(b).max(initial=floor)
            assert apart <= tolerance * largest, (
                f"{jax.tree_util.keystr(path)}: {apart:.3g} apart, of at most {largest:.3g}"
            )

    return check
