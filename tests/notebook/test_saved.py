"""Saved models: any family of ours comes back to the bit, from a folder that is whole or not there
and whose files are those that were written."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import arch
from arch import config, variants
from arch.context import Context
from arch.huggingface import weights as huggingface
from arch.notebook.loaded import Loaded
from arch.registry import ConfigurationError
from arch.training.program import build
from tests import cli
from tests.draws import decoders, drawn

IDS = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The folder of the runs of the small experiment."""
    return cli.copy_swept(tmp_path_factory.mktemp("trained")) / "runs/small"


@pytest.fixture(scope="module")
def run(runs):
    return arch.load(cli.folder_of(runs, "sf").path, seed=1)


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory) -> Path:
    return run.save(tmp_path_factory.mktemp("saved") / "model")


def made(model, **task) -> Loaded:
    """A model of random parameters, as if it were loaded."""
    filled = config.make(model=model, task={"length": 16, **task})
    task, built = build(filled)
    return Loaded(filled, task, built, drawn(built))


def logits(loaded):
    return jax.jit(loaded.model.logits)(loaded.parameters, IDS, Context())


def program(loaded) -> str:
    """What is computed of the parameters: the logits of two that have one are equal to the bit."""
    made = str(jax.make_jaxpr(loaded.model.logits)(loaded.parameters, IDS, Context()))
    return re.sub("0x[0-9a-f]+", "", made)  # where functions lie


@settings(max_examples=8, derandomize=True)
@given(model=decoders())
def test_any_decoder_is_saved_and_loads_to_equal_logits(model, same_bytes, tmp_path_factory):
    loaded = made(model)
    again = arch.load(loaded.save(tmp_path_factory.mktemp("any") / "model"))
    assert again.config == loaded.config
    assert same_bytes(again.parameters, loaded.parameters)
    assert program(again) == program(loaded)


def test_the_logits_of_what_was_saved_are_the_same_bits(tmp_path):
    loaded = made(variants.sandwich(2, 1, width=8, heads=2, stack={"kind": "universal"}))
    again = arch.load(loaded.save(tmp_path / "model"))
    np.testing.assert_array_equal(logits(again), logits(loaded))


@pytest.mark.parametrize(
    "model, task",
    [
        (variants.sandwich(4, 2, width=8, heads=2), {}),
        (
            variants.masked_encoder(2, 8, 2, "gelu", {"kind": "plain"}, head={"classes": 2}),
            {"kind": "masked_language_model", "sentence": "order"},
        ),
        (variants.transformer(2, 8, 2), {"kind": "algorithmic"}),
    ],
)
def test_every_family_is_saved(model, task, same_bytes, tmp_path):
    task = {**task} if task.get("kind") != "algorithmic" else {"kind": "algorithmic"}
    filled = config.make(model=model, task=task)
    made, built = build(filled)
    loaded = Loaded(filled, made, built, drawn(built))
    again = arch.load(loaded.save(tmp_path / "model"))
    assert again.config == loaded.config
    assert same_bytes(again.parameters, loaded.parameters)
    assert again.model.order == built.order


def test_a_run_comes_back_without_its_corpus(run, saved, same_bytes, tmp_path, monkeypatch):
    moved = Path(shutil.copytree(saved, tmp_path / "moved"))

    def read(name):
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr("arch.data.corpora.named.load", read)
    loaded = arch.load(moved)
    assert same_bytes(loaded.parameters, run.parameters)
    assert loaded.config.model == run.config.model
    assert loaded.origin == run.origin
    assert loaded.generate("abcde", tokens=4, temperature=0) == run.generate(
        "abcde", tokens=4, temperature=0
    )
    assert loaded.tokenizer.to_json() == run.tokenizer.to_json()


def test_it_is_evaluated_as_the_run_is(run, saved):
    done = cli.run("evaluate", f"--run={saved}", "--json")
    assert done.code == 0, done.err
    row = next(json.loads(x) for x in done.out.splitlines() if json.loads(x)["split"] == "valid")
    held = run.folder.seed(1).summary["evaluations"]["valid"]
    assert (row["seed"], row["loss"]) == (1, held["loss"])
    with pytest.raises(ConfigurationError, match="a saved model has no checkpoints of its"):
        arch.notebook.run.load_runs(saved)
    with pytest.raises(ConfigurationError, match="seed=1: a saved model has seed 0 alone"):
        arch.load(saved, seed=1)


def test_its_card_says_what_it_is(run, saved):
    card = (saved / "README.md").read_text()
    held = run.folder.seed(1).summary
    for text in (
        "| order",
        "| sf ",
        "attention, heads=2",
        f"{run.model.parameter_counts()['unique']:,}",
        held["corpus"]["sha256"],
        "| tokenizer",
        "bytes",
        f"{held['evaluations']['valid']['perplexity']:.4f}",
        f"{held['hash'][:8]}",
        "numerics",
        f'arch.load("{saved}")',
        "stack.s.sublayer.query.kernel",
    ):
        assert text in card, text


@pytest.mark.parametrize("tokenizer", ["words", "characters", "file"])
def test_its_tokenizer_goes_with_it(tokenizer, tmp_path, corpus):
    if tokenizer == "file":
        from tests.notebook.test_imported import byte_level

        byte_level(300).save(str(tmp_path / "theirs.json"))
        tokenizer = f"file:{tmp_path}/theirs.json"
    loaded = made({"width": 8, "order": "f"}, corpus=corpus, tokenizer=tokenizer)
    folder = loaded.save(tmp_path / "model")
    (tmp_path / "theirs.json").unlink(missing_ok=True)
    again = arch.load(shutil.move(folder, tmp_path / "moved"))
    text = "an order of sublayers"
    assert again.tokenizer.encode(text).tolist() == loaded.tokenizer.encode(text).tolist()
    assert again.tokenizer.decode([3, 4, 5]) == loaded.tokenizer.decode([3, 4, 5])


def test_a_folder_that_is_there_is_never_replaced_in_silence(run, saved, tmp_path):
    before = {file: file.read_bytes() for file in saved.iterdir()}
    for format in ("arch", "huggingface"):
        other = arch.load(saved)
        if format == "huggingface":
            other = made(variants.gpt2_like(1, 8, 2))
        with pytest.raises(ConfigurationError, match="already|there already, and not empty"):
            other.save(saved, format=format)
    assert {file: file.read_bytes() for file in saved.iterdir()} == before
    (tmp_path / "mine").mkdir()
    run.save(tmp_path / "mine")  # an empty one is taken
    run.save(tmp_path / "mine", overwrite=True)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["mine", "mine.old1"]
    (tmp_path / "file").write_text("text")
    with pytest.raises(ConfigurationError, match="file: there already"):
        run.save(tmp_path / "file")


@pytest.mark.parametrize("format", ["arch", "huggingface"])
def test_what_is_interrupted_leaves_nothing(format, tmp_path, monkeypatch):
    loaded = made(variants.gpt2_like(1, 8, 2))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loaded.save(tmp_path / "model", format=format)
    assert list(tmp_path.iterdir()) == []


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "arch_tokenizer.json"])
@settings(max_examples=8, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_flipped_bit_anywhere_is_noticed(name, share, saved, tmp_path_factory):
    copied = Path(shutil.copytree(saved, tmp_path_factory.mktemp("flipped") / "model"))
    flip(copied / name, int(share * (copied / name).stat().st_size))
    with pytest.raises(ConfigurationError) as caught:
        arch.load(copied)
    assert "model" in str(caught.value) and "\n" not in str(caught.value)


def test_a_flipped_bit_of_written_tensors_is_noticed_in_hugging_faces_format(tmp_path):
    folder = made(variants.gpt2_like(1, 8, 2)).save(tmp_path / "gpt2", format="huggingface")
    assert (folder / "README.md").read_text().count("GPT2LMHeadModel") == 2
    file = folder / "model.safetensors"
    flip(file, file.stat().st_size - 3)
    with pytest.raises(ConfigurationError, match="model.safetensors: not what was written"):
        huggingface.read(folder)


def test_a_missing_file_is_named(saved, tmp_path):
    copied = Path(shutil.copytree(saved, tmp_path / "model"))
    (copied / "arch_tokenizer.json").unlink()
    with pytest.raises(ConfigurationError, match="has no arch_tokenizer.json, which config.json"):
        arch.load(copied)


def test_plugins_go_with_it_and_are_trusted_as_a_runs_are(tmp_path):
    plugin = tmp_path / "mine" / "twice_of_saved.py"
    plugin.parent.mkdir()
    plugin.write_text(
        "from flax import nnx\n"
        "from arch.registry import sublayers\n\n"
        '@sublayers.register("twice_of_saved")\n'
        "class Twice(nnx.Module):\n"
        "    causal = True\n\n"
        "    def __init__(self, width, *, rngs):\n"
        "        self.scale = nnx.Param(nnx.initializers.ones(rngs.params(), (width,)))\n\n"
        "    def __call__(self, x, context):\n"
        "        return x * self.scale[...][None, None].astype(x.dtype)\n\n"
        "    def flops(self, length):\n"
        "        return 2\n"
    )
    model = {"width": 8, "order": "t", "sublayers": {"t": {"kind": "twice_of_saved"}}}
    filled = config.make(plugins=(str(plugin),), model=model, task={"length": 16})
    task, built = build(filled)
    folder = Loaded(filled, task, built, drawn(built)).save(tmp_path / "model")
    assert arch.load(folder).model.order == "t"
    plugin.unlink()
    with pytest.raises(ConfigurationError, match="is not on this machine; .*say --trust"):
        arch.load(folder)
    assert arch.load(folder, trust=True).model.order == "t"


def test_its_tensors_are_named_by_their_paths(run, saved):
    tensors = load_file(saved / "model.safetensors")
    assert tensors.keys() == arch.parameters.flat(run.parameters).keys()
