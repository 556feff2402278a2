"""What one process compiled, the next one loads: the same bits, and nothing that is stale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from arch.training import executables
from arch.training.compiled import Compiled
from arch.training.executables import Executable

ROOT = Path(__file__).parents[2]
PLUGIN = """
from arch.registry import sublayers
from arch.sublayers.feed_forward import FeedForward

@sublayers.register("mine")
class Mine(FeedForward):
    pass
"""
EXPERIMENT = """
from arch import config
from arch.sweeps.experiment import Cell

ARGUMENTS = {"kind": "feed_forward"}
VARIES = ("model.order",)

def get_config(arg):
    return config.make(
        model={"order": "f", "width": 8, "sublayers": {"f": {"kind": arg.kind}}},
        task={"kind": "algorithmic", "format": "decoder", "length": 4, "base": 5},
        train={"steps": 2, "batch": 4}, evaluate={"splits": ("valid",)},
    )

def cells(arg, results):
    return [Cell("a", {}, (0,))]

def TABLE(arg, cells, results):
    return {"title": "t", "metric": "loss", "split": "valid", "baseline": "a"}
"""


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """A folder in which programs are kept."""
    monkeypatch.setenv("ARCH_PROGRAMS", str(tmp_path / "programs"))
    return tmp_path / "programs"


def step(state, x):
    """Inputs and outputs of some structure; the first is donated."""
    return {"state": state["a"] + x, "sums": (x.sum(), x * 2)}


def of(made_from="program", function=step, name="step", static=None, shape=(3,)):
    """(outputs, whether it was compiled) of a fresh process's first call."""
    compiled, calls = Compiled("cpu", made_from), []

    def traced(*inputs):
        calls.append(1)
        return function(*inputs)

    inputs = {"a": jnp.arange(float(np.prod(shape))).reshape(shape)}, jnp.ones(shape)
    found = compiled.call(name, traced, *inputs, donate=(0,), static=static)
    assert compiled.peak_memory_bytes > 0
    return jax.device_get(found), bool(calls)


def test_a_second_process_gets_the_same_from_what_the_first_kept(kept):
    first, compiled = of()
    again, again_compiled = of()
    assert compiled and not again_compiled
    jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize(
    "other",
    [{"made_from": "another"}, {"name": "other"}, {"static": ("s", 0)}, {"shape": (4,)},
     {"made_from": ""}],
    ids=str,
)  # fmt: skip
def test_what_differs_in_anything_it_is_made_from_is_compiled(kept, other):
    of()
    assert of(**other)[1]


@pytest.mark.parametrize("surrounding", ["source", "flags", "setting", "cores", "version"])
def test_other_code_machine_or_settings_are_other_programs(kept, surrounding, monkeypatch):
    of()
    before = jax.config.read("jax_disable_most_optimizations")
    if surrounding == "source":
        monkeypatch.setattr(executables.provenance, "source", lambda: "edited")
    elif surrounding == "flags":
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    elif surrounding == "setting":
        jax.config.update("jax_disable_most_optimizations", not before)
    elif surrounding == "cores":
        monkeypatch.setattr(executables.provenance, "cores", lambda: 63)
    else:
        monkeypatch.setattr(executables.provenance, "versions", lambda: {"jax": "0"})
    try:
        assert of()[1]
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_what_is_damaged_is_compiled_again_and_mended(kept, damage):
    first, _ = of()
    (file,) = kept.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        content[len(content) // 2] ^= 1
        file.write_bytes({"flip": content, "cut": content[:-5], "empty": b""}[damage])
    again, compiled = of()
    assert compiled
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert of()[1] == (damage == "folder")


@pytest.mark.slow
def test_what_jaxs_own_cache_gave_is_not_what_is_kept(tmp_path):
    """Processes in turn: the first fills both caches, then ours is emptied, filled and used."""
    script = (
        "import jax, jax.numpy as jnp\n"
        "from arch.training.compiled import Compiled\n"
        "def f(x, i):\n"
        "    def body(c, _):\n"
        "        return jnp.sin(c) @ c.T + jax.lax.dynamic_slice(c, (i, 0), (1, 64)), None\n"
        "    return jax.lax.scan(body, x, None, length=3)[0]\n"
        "for name in 'ab':\n"  # jax's cache goes on after the first
        "    made = Compiled('cpu', 'program')\n"
        "    print(float(made.call(name, f, jnp.ones((64, 64)), jnp.int32(3)).sum()))\n"
        "jax.jit(lambda x: jnp.cos(x) @ x)(jnp.ones((8, 8)))\n"
    )
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }  # fmt: skip
    told = []
    for programs in ("", "one", "one", "two", "two"):
        environment["ARCH_PROGRAMS"] = str(tmp_path / programs) if programs else ""
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-500:]
        told.append(done.stdout)
    assert len(set(told)) == 1
    assert any((tmp_path / "xla").iterdir())


def test_what_was_not_used_for_longest_goes_first(kept, monkeypatch):
    for name in "abc":
        of(name=name)
        (newest,) = [f for f in kept.iterdir() if f.stat().st_mtime > 1e9]
        os.utime(newest, (ord(name), ord(name)))
    sizes = [file.stat().st_size for file in kept.iterdir()]
    assert not of(name="a")[1]  # used now
    monkeypatch.setattr(executables, "MOST_BYTES", sum(sizes) + sizes[0] // 2)
    of(name="d")
    assert not of(name="a")[1] and not of(name="c")[1] and of(name="b")[1]


def test_nothing_is_kept_where_no_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ARCH_PROGRAMS", "")
    executables.save("key", Executable(None, 0))
    assert executables.load("key") is None and not list(tmp_path.iterdir())


def run(folder: Path, *more: str) -> dict:
    """The line of a run in a process of its own."""
    environment = {**os.environ, "ARCH_PROGRAMS": str(folder / "programs")}
    command = [sys.executable, str(ROOT / "launch.py"), "sweep", "--config=e.py", "--fresh",
               "--rerun=*", *more]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(next(folder.glob("results/*/runs.jsonl")).read_text().splitlines()[0])


@pytest.mark.slow
def test_a_sweep_that_starts_again_trains_the_same_bits_and_plugins_keep_nothing(tmp_path):
    (tmp_path / "e.py").write_text(EXPERIMENT)
    first = run(tmp_path)
    kept = {file.name for file in (tmp_path / "programs").iterdir()}
    again = run(tmp_path)
    assert first["evaluations"] == again["evaluations"] and kept
    assert again["peak_memory_bytes"] == first["peak_memory_bytes"]
    assert {file.name for file in (tmp_path / "programs").iterdir()} == kept
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "e.py").write_text(EXPERIMENT.replace('"feed_forward"', '"mine"'))
    run(tmp_path, "--config.plugins=mine.py")
    assert {file.name for file in (tmp_path / "programs").iterdir()} == kept
