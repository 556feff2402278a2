"""An architecture that nobody here thought of: one file outside the repository, and one letter."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import jax
import numpy as np
import pytest

import arch
from arch import config, plugins, registry
from arch.context import Context
from arch.registry import ConfigurationError
from arch.training.program import build
from tests import cli

GLA = '''
"""Gated linear attention (Yang et al. 2023): Sₜ = diag(αₜ) Sₜ₋₁ + kₜ vₜᵀ, oₜ = qₜᵀ Sₜ."""

import jax
import jax.numpy as jnp
from flax import nnx

from arch.layers import Projection, divide
from arch.registry import sublayers


@sublayers.register("own_gated_linear_attention")
class GatedLinearAttention(nnx.Module):
    causal = True

    def __init__(self, width, *, heads=4, temperature=16.0, rngs):
        self.head_width = divide(width, heads, "heads", "width")
        self.heads, self.temperature, self.width = heads, temperature, width
        self.inputs = Projection(width, 4 * width, rngs=rngs)
        self.output = Projection(width, width, rngs=rngs)

    def __call__(self, x, context):
        batch, length, width = x.shape
        parts = self.inputs(x).reshape(batch, length, 4, self.heads, self.head_width)
        q, k, v, gate = jnp.moveaxis(parts, (2, 1), (0, 1))
        decay = jnp.exp(jax.nn.log_sigmoid(gate) / self.temperature)

        def step(state, inputs):
            q, k, v, decay = inputs
            state = decay[..., None] * state + k[..., None] * v[..., None, :]
            return state, jnp.einsum("bhk,bhkv->bhv", q, state)

        start = jnp.zeros((batch, self.heads, self.head_width, self.head_width), x.dtype)
        _, y = jax.lax.scan(step, start, (q, k, v, decay))
        return self.output(jnp.moveaxis(y, 0, 1).reshape(x.shape))

    def flops(self, length):
        return 10 * length * self.width**2 + 4 * length * self.width * self.head_width
'''

GATED = {"g": {"kind": "own_gated_linear_attention", "heads": 2}}


def repository() -> str:
    """What git says of the code."""
    return subprocess.run(
        ["git", "-C", str(cli.REPOSITORY), "status", "--porcelain", "--", "arch", "launch.py"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Path:
    """A folder with the plugin and an experiment: a sandwich, one of its attentions replaced."""
    folder = tmp_path_factory.mktemp("elsewhere")
    cli.write_small(
        folder,
        ("seeds=(0, 1)", "seeds=(0, 1), plugins=('gla.py',)"),
        (
            "variants.vanilla(1, width=16, heads=2, dropout=0.1)",
            "variants.sandwich(2, 1, width=16, heads=2, sublayers=GATED)",
        ),
        ("\n\ndef get_config", f"\nGATED = {GATED!r}\n\n\ndef get_config"),
        (
            '[Cell("sf", {"model.order": "sf"}), Cell("fs", {"model.order": "fs"})]',
            '[Cell("gated", {"model.order": "s(gf)f"}, variant="sandwich")]',
        ),
        ('"baseline": "sf"', '"baseline": "gated"'),
    )  # fmt: skip
    (folder / "gla.py").write_text(GLA)
    return folder


@pytest.fixture(scope="module")
def trained(elsewhere) -> Path:
    """The sweep, killed in the middle and gone on with."""
    (elsewhere / "before.txt").write_text(repository())
    process = cli.start("sweep", "--config=small.py", cwd=elsewhere)
    # of both seeds: once the second save has begun, the first is whole
    cli.until(lambda: cli.progress(elsewhere / "runs/small") >= 5 * cli.SAVE, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    told = cli.run("status", "--name=small", cwd=elsewhere)
    assert "gated" in told.out and "killed" in told.out
    done = cli.run("sweep", "--config=small.py", cwd=elsewhere)
    assert done.code == 0, done.err
    assert "from step" in done.out
    (elsewhere / "after.txt").write_text(repository())
    return elsewhere


@pytest.fixture
def folder(trained, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which one is."""
    cli.copy(trained, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_changes_nothing_in_the_repository(trained):
    assert (trained / "after.txt").read_text() == (trained / "before.txt").read_text()


def test_it_trains_and_is_reported(folder):
    (path,) = (folder / "runs/small").glob("gated-*")
    lines = [json.loads(text) for text in (path / "seed0/metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "split" in line]
    assert losses[-1] < losses[0]
    results = [
        json.loads(t) for t in (folder / "results/small/runs.jsonl").read_text().splitlines()
    ]
    assert [(line["seed"], line["status"]) for line in results] == [
        (0, "finished"),
        (1, "finished"),
    ]
    assert results[0]["order"] == "sgff" and results[0]["variant"] == "sandwich"
    # 16 · 64 + 64 and 16 · 16 + 16 of the projections, 32 of the norm
    assert results[0]["parameters"]["by_letter"]["g"] == 1088 + 272 + 32
    told = cli.run("report", "--name=small")
    assert told.code == 0 and "gated" in told.out


def test_killed_it_went_on_to_where_it_would_have_gone(folder):
    cli.copy(folder / "runs", folder / "killed")
    shutil.rmtree(folder / "runs")
    assert cli.run("sweep", "--config=small.py").code == 0
    assert cli.everything(folder / "runs/small") == cli.everything(folder / "killed/small")


def test_it_is_described_and_takes_overrides_like_any_other(folder):
    told = cli.run("describe", "--config=small.py", "--json", "--config.model.sublayers.g.heads=4")
    assert told.code == 0, told.err
    row = json.loads(told.out)
    assert row["order"] == "sgff" and set(row["parameters"]["by_letter"]) == set("sgf")
    told = cli.run("describe", "--config=small.py", "--config.model.sublayers.g.tempreature=2")
    assert told.code == 2
    assert "did you mean 'temperature'?" in told.err
    told = cli.run("describe", "--config=small.py", "--config.model.sublayers.g.heads=3")
    assert "model.sublayers.g: heads=3 does not divide width=16" in told.err


def test_any_letter_can_be_bound_to_it(folder):
    told = cli.run("sweep", "--config=small.py:s=own_gated_linear_attention", "--dry-run")
    assert told.code == 0, told.err
    told = cli.run("describe", "--config=small.py:s=own_gated_linear_attention", "--json")
    counts = json.loads(told.out)["parameters"]["by_letter"]
    assert counts["s"] == counts["g"]


def test_a_run_is_loaded_from_its_own_copy_of_the_plugin(folder):
    (folder / "gla.py").unlink()
    (path,) = Path("runs/small").glob("gated-*")
    assert (path / "plugins/gla.py").read_text() == GLA
    with cli.forgetful():
        runs = [arch.load(path, seed, trust=True) for seed in (0, 1)]
        assert runs[0].model.stack.sublayer("g").kind == "own_gated_linear_attention"
        logits = jax.jit(runs[0].model.logits)(runs[0].parameters, np.arange(16)[None], Context())
        assert np.isfinite(logits).all()
        assert runs[0].step == runs[1].step == cli.STEPS
    told = cli.run("evaluate", f"--run={path}", "--trust")
    assert told.code == 0, told.err
    summary = json.loads((path / "seed0/summary.json").read_text())
    assert f"{summary['evaluations']['valid']['perplexity']:.4f}" in told.out


TRAP = "raise SystemExit('it was imported')\n"


def from_elsewhere(folder: Path, named: str) -> Path:
    """The run, as somebody else would send it: its copy is a trap, its configuration names what
    they like."""
    (path,) = Path("runs/small").glob("gated-*")
    content = json.loads((path / "config.json").read_text())
    content["config"]["plugins"] = [named.format(path=path)]
    (path / "config.json").write_text(json.dumps(content))
    (path / "plugins/gla.py").write_text(TRAP)
    return path


@pytest.mark.parametrize(
    "named, said",
    [
        ("gla.py", "its copy of gla.py differs from yours"),
        ("gone/gla.py", "its plugin gone/gla.py is not on this machine"),
        ("{path}/plugins/gla.py", "came with a run"),
        ("runs/small/decoy/gla.py", "came with a run"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "generate --prompt=a", "verify"])
def test_a_run_from_elsewhere_is_refused_and_nothing_of_it_imported(folder, named, said, command):
    decoy = folder / "runs/small/decoy"
    decoy.mkdir()
    (decoy / "gla.py").write_text(TRAP)
    path = from_elsewhere(folder, named)
    told = cli.run(*command.split(), f"--run={path}")
    assert told.code == 2 and told.err.count("\n") == 1
    assert said in told.err and "the run brings Python along" in told.err
    assert f"read {path}/plugins, then say --trust" in told.err
    told = cli.run(*command.split(), f"--run={path}", "--trust")
    assert told.code == "it was imported"


def test_a_file_that_is_the_users_own_needs_no_trust(folder):
    (path,) = Path("runs/small").glob("gated-*")
    with cli.forgetful():
        assert arch.load(path).step == cli.STEPS
        (folder / "gla.py").write_text(GLA + "# edited\n")
        with pytest.raises(ConfigurationError, match="its copy of gla.py differs from yours"):
            arch.load(path)


def test_a_run_from_elsewhere_is_not_imported_under_a_name_of_ones_own(folder):
    from_elsewhere(folder, "{path}/plugins/gla.py")
    told = cli.run("sweep", "--config=small.py", "--dry-run")
    assert told.code == 0, told.err


def test_an_edited_plugin_is_another_cell(folder):
    (folder / "gla.py").write_text(GLA.replace("temperature=16.0", "temperature=8.0"))
    told = cli.run("sweep", "--config=small.py", "--dry-run")
    assert "none" in told.out
    (path,) = (folder / "runs/small").glob("gated-*")
    held = path.name.removeprefix("gated-")
    # its hash stands only where the change is told: what is planned has another
    planned = [row for row in told.out.splitlines() if "differs in" not in row]
    assert held not in "\n".join(planned)


def test_it_keeps_its_promise_of_causality(folder):
    """By gradient, and by perturbation, which sees what no gradient flows through."""
    with cli.forgetful():
        plugins.load(["gla.py"])
        assert "own_gated_linear_attention" in registry.sublayers.names()
        made = config.make(
            plugins=("gla.py",),
            model={
                "width": 16,
                "order": "g",
                "sublayers": {"g": {"kind": "own_gated_linear_attention"}},
            },
            task={"corpus": f"file:{folder}/corpus.txt", "length": 8},
        )
        _, model = build(made)
        parameters = model.init(jax.random.key(0))
        x, noise = np.random.default_rng(1).standard_normal((2, 1, 8, 16), np.float32)

        @jax.jit
        def hidden(x):
            return model.stack(parameters["stack"], x, Context())[0][0]

        influence = np.abs(jax.jit(jax.jacobian(hidden))(x)).sum((1, 2, 4))  # (output, input)
        assert (np.triu(influence, 1) == 0).all()
        assert (np.diag(influence) > 0).all() and influence[-1, 0] > 0
        for t in range(7):
            other = np.concatenate([x[:, : t + 1], noise[:, t + 1 :]], axis=1)
            np.testing.assert_array_equal(hidden(other)[: t + 1], hidden(x)[: t + 1])
            assert not np.array_equal(hidden(other)[t + 1], hidden(x)[t + 1])
    assert "own_gated_linear_attention" not in registry.sublayers.names()
