"""A trained run in a notebook."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import arch
from arch.config import identity
from arch.context import Context
from arch.registry import ConfigurationError
from tests import cli


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The folder of the runs of the small experiment."""
    return cli.copy_swept(tmp_path_factory.mktemp("trained")) / "runs/small"


@pytest.fixture(scope="module")
def trained(runs) -> Path:
    return cli.folder_of(runs, "sf").path


@pytest.fixture(scope="module")
def run(trained):
    return arch.load(trained, seed=1)


def test_it_has_the_configuration_it_was_trained_with(run, trained):
    held = json.loads((trained / "config.json").read_text())
    assert run.config.model.order == "sf"
    assert identity(run.config, run.task.dataset.sha256) == held["hash"]
    assert (run.seed, run.step) == (1, cli.STEPS)


def test_its_metrics_are_the_files_lines(run, trained):
    texts = (trained / "seed1/metrics.jsonl").read_text().splitlines()
    assert run.metrics == [json.loads(text) for text in texts]
    assert run.metrics[-1]["step"] == cli.STEPS


def test_its_parameters_are_the_best_ones(run):
    assert run.parameters is run.state.best_parameters
    losses = [line["loss"] for line in run.metrics if "split" in line]
    assert float(run.state.best_loss) == np.float32(min(losses))


@pytest.mark.slow
def test_its_parameters_may_be_closed_over(run):
    """As arrays that jax indexes by traced numbers; NumPy's would refuse them."""
    ids, parameters = jnp.asarray(run.tokenizer.encode("abcd"))[None], run.parameters
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(parameters))
    wanted = jax.jit(run.model.logits)(parameters, ids, Context())

    def closed(ids):
        return run.model.logits(parameters, ids, Context())

    np.testing.assert_array_equal(jax.jit(closed)(ids), wanted)
    np.testing.assert_array_equal(nnx.jit(closed)(ids), wanted)

    def of_scale(scale):
        return jnp.sum(closed(ids)) * jnp.sum(parameters["embedding"]["tokens"]["table"] * scale)

    slope = jax.jit(jax.grad(of_scale))(1.0)
    np.testing.assert_allclose(slope, of_scale(1.0), rtol=1e-4)
    assert isinstance(jnp.tanh(parameters["stack"]["s"]["norm_before"]["scale"]) + 1, jax.Array)


def test_seeds_are_runs_of_their_own(run, trained):
    tables = [arch.load(trained, seed=k).parameters["embedding"]["tokens"]["table"] for k in (0, 1)]
    assert not np.array_equal(*tables)


def test_its_tokenizer_reads_and_writes(run):
    ids = run.tokenizer.encode("abc")
    assert ids.tolist() == [97, 98, 99]
    assert run.tokenizer.decode(ids) == "abc"


def test_attention_is_captured_by_its_place_in_the_order(run, runs):
    text = "abcde fghij"
    other = arch.load(cli.folder_of(runs, "fs").path, seed=1)
    for loaded, place in ((run, 0), (other, 1)):
        found = loaded.capture(text, ["attention.weights"])
        assert list(found) == ["attention.weights"]
        assert list(found["attention.weights"]) == [place]
        weights = found["attention.weights"][place]
        assert weights.shape == (2, len(text), len(text))
        np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
        assert (weights >= 0).all()
        assert (np.triu(weights, 1) == 0).all()


def test_what_is_captured_is_what_the_model_computes(run):
    """The first attention, from its parameters, in NumPy."""
    text = "abcd"
    found = run.capture(text, ["attention.weights"])["attention.weights"][0]
    tree = jax.tree.map(np.asarray, run.parameters)
    letter = jax.tree.map(lambda a: a[0], tree["stack"]["s"])
    half = np.exp(-np.arange(8) * np.log(10000) / 7)
    angle = np.arange(4)[:, None] * half
    x = tree["embedding"]["tokens"]["table"][[97, 98, 99, 100]] * 4
    x = x + np.concatenate([np.sin(angle), np.cos(angle)], 1)
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    x = x * letter["norm_before"]["scale"] + letter["norm_before"]["bias"]
    q, k = (
        (x @ letter["sublayer"][name]["kernel"] + letter["sublayer"][name]["bias"]).reshape(4, 2, 8)
        for name in ("query", "key")
    )
    scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(8)
    scores[:, np.triu_indices(4, 1)[0], np.triu_indices(4, 1)[1]] = -np.inf
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    np.testing.assert_allclose(found, scores / scores.sum(-1, keepdims=True), atol=1e-5)


def test_a_long_text_is_cut_at_the_tasks_length(run):
    weights = run.capture("a" * 100, ["attention.weights"])["attention.weights"]
    assert weights[0].shape == (2, 16, 16)


def test_a_name_that_nothing_records_is_refused(run):
    says = "nothing records 'attention.wieghts'; recorded are attention.weights$"
    with pytest.raises(ConfigurationError, match=says):
        run.capture("abc", ["attention.wieghts"])
    with pytest.raises(ConfigurationError, match="the text has no tokens"):
        run.capture("", ["attention.weights"])


def test_what_cannot_be_loaded_says_why(trained, tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="seed 5 has no checkpoint; there are .*0, 1"):
        arch.load(trained, seed=5)
    with pytest.raises(ConfigurationError, match=f"{tmp_path}: no run is here"):
        arch.load(tmp_path)
    copied = cli.copy(trained, tmp_path / "copied")
    held = json.loads((copied / "config.json").read_text())
    (tmp_path / "other.txt").write_text(cli.text(4000))
    held["config"]["task"]["corpus"] = f"file:{tmp_path}/other.txt"
    (copied / "config.json").write_text(json.dumps(held))
    with pytest.raises(ConfigurationError, match="other.txt.* changed since this run"):
        arch.load(copied)


def test_it_goes_on_with_a_text(run):
    said = run.generate("abcde fghij", tokens=6)
    assert len(said) == 6
    assert said == run.generate("abcde fghij", tokens=6)  # the same draw
    ids = run.tokenizer.encode("abcde")
    logits = jax.jit(run.model.logits)
    for _ in range(4):  # greedily: each token is the most probable after all before it
        shown = np.pad(ids, (0, 9 - len(ids)))[None]  # it sees nothing of what follows
        found = logits(run.parameters, shown, Context())[0, len(ids) - 1]
        ids = np.append(ids, int(np.argmax(found)))
    assert run.generate("abcde", tokens=4, temperature=0) == run.tokenizer.decode(ids[5:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": 0}, "tokens=0: allowed is 1 or more"),
        ({"top_k": -1}, "top_k=-1: allowed is 0"),
        ({"temperature": -0.5}, "temperature=-0.5: allowed is 0"),
        ({"temperature": float("nan")}, "temperature=nan: allowed is 0"),
        ({"top_p": 0}, "top_p=0: allowed is above 0 to 1"),
        ({"top_k": 100_000}, r"top_k=100000: allowed is 0 \(all\) to \d+, the tokenizer's entries"),
        ({"prompt": ""}, "the prompt has no tokens"),
    ],
)
def test_text_that_cannot_be_made_is_refused(run, options, message):
    with pytest.raises(ConfigurationError, match=message):
        run.generate(**{"prompt": "abc", **options})


def test_generate_prints_what_the_model_makes_of_a_prompt(trained):
    told = cli.run("generate", f"--run={trained}", "--prompt=abc", "--tokens=5", "--seed=1")
    assert told.code == 0, told.err
    assert told.out == "abc" + arch.load(trained, seed=1).generate("abc", tokens=5) + "\n"


def test_several_prompts_and_draws_come_one_after_the_other(trained, run, tmp_path):
    (tmp_path / "prompts.txt").write_text("abc\n\ndef\n")
    told = cli.run(
        "generate", f"--run={trained}", f"--prompts={tmp_path}/prompts.txt", "--tokens=5",
        "--seed=1", "--draws=2", "--top-k=3", "--top-p=0.9",
    )  # fmt: skip
    assert told.code == 0, told.err
    said = [
        p + run.generate(p, tokens=5, top_k=3, top_p=0.9, seed=draw)
        for p in ("abc", "def")
        for draw in (0, 1)
    ]
    assert told.out == "".join(f"{text}\n" for text in said)


def test_a_second_text_compiles_nothing_and_streams_as_it_is_made(run, monkeypatch):
    traced, step = [], run.model.step
    run.generate("abcde", tokens=20)
    monkeypatch.setattr(run.model, "step", lambda *args: (traced.append(1), step(*args))[1])
    whole = run.generate("bcd", tokens=17, temperature=0.3, top_k=5, top_p=0.8, seed=3)
    pieces = list(run.stream("bcd", tokens=17, temperature=0.3, top_k=5, top_p=0.8, seed=3))
    assert not traced and len(pieces) > 5 and "".join(pieces) == whole
    assert run.generate("abc", tokens=9, temperature=1e-30) == run.generate("abc", 9, 0)


def test_halting_steps_are_captured_a_position(tmp_path):
    folder = cli.write_small(tmp_path)
    halting = ("kind=universal", "halting=act", "steps=3")
    fields = [f"--config.model.stack.{field}" for field in halting]
    fields += ["--config.model.dropout=0"]  # a third less to compile
    done = cli.run("run", "--config=small.py", "--cell=sf", "--seeds=1", *fields, cwd=folder)
    assert done.code == 0, done.err
    (name,) = [p.name for p in (folder / "runs").iterdir()]
    loaded = arch.load(cli.folder_of(folder / "runs" / name, "sf").path)
    found = loaded.capture("abcde fghij", ["halting.steps", "attention.weights"])
    steps = found["halting.steps"][0]
    assert steps.shape == (11,)
    assert set(steps.tolist()) <= {1, 2, 3}
    assert list(found["attention.weights"]) == [0, 2, 4]  # step · depth + position
    bars = loaded.plot_halting("abcde fghij").axes[0].patches
    assert [bar.get_height() for bar in bars] == steps.tolist()
    (*squares, _) = loaded.plot_attention("abc").axes
    assert [axis.get_title("left") for axis in squares[::2]] == [
        f"step {n}, 0 s, head 0" for n in range(3)
    ]
    line = loaded.folder.seed(0).summary["evaluations"]["valid"]
    assert 1 <= line["ponder_time"] <= 3
