"""Every experiment that is shipped: full size in shapes, tiny size in steps."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

import arch
import launch
from arch.registry import ConfigurationError
from arch.report.folder import write_report
from arch.report.lines import read_lines
from arch.runs.folders import RunFolder
from arch.sweeps import running
from arch.sweeps import sweep as sweeps
from arch.sweeps.experiment import Experiment, Results
from arch.sweeps.present import present_results
from arch.sweeps.stored import stored_experiment
from arch.training import describe
from experiments import attention_distance
from experiments.papers import press2020
from tests.families import always

# Of a family of equal tests one is run always, the others with the slow ones.
SLOW = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.name
    for path in (ROOT / "experiments").glob("*.py")
    if "def get_config" in path.read_text()
)


def described(reference: str) -> list[dict]:
    experiment = Experiment(str(ROOT / "experiments" / reference))
    cells = experiment.cells(Results([], *experiment.metric))
    return [describe.describe(c.name, c.variant, experiment.config(c)) for c in cells]


@pytest.mark.parametrize("coefficients", [range(16)])
def test_the_papers_sandwich_has_the_papers_parameters_at_every_coefficient(coefficients):
    rows = described("sandwich.py:scale=paper")
    assert [row["cell"] for row in rows] == [f"k{k}" for k in coefficients]
    for row in rows:
        assert sum(row["parameters"]["by_letter"].values()) == 201_539_584
        assert row["parameters"]["unique"] == row["parameters"]["applied"] == 246_933_504
    assert len({row["flops_per_token"] for row in rows}) == 1
    assert len({row["order"] for row in rows}) == 16


def test_the_papers_random_permutations_have_the_baselines_parameters():
    rows = {row["cell"]: row for row in described("random_orders.py:scale=paper")}
    assert len(rows) == 1 + 39  # one of the printed strings is a letter short and is left out
    assert rows["p00"]["order"] == press2020.PERMUTATIONS[0][0]
    for name, row in rows.items():
        if name.startswith("p"):
            assert row["parameters"]["unique"] == 246_933_504
        # Table 2 matches 4d² and 8d² without norms and biases: a few sublayers' of those differ
        assert row["parameters"]["unique"] == pytest.approx(246_933_504, rel=1e-3)


@pytest.mark.parametrize(
    ("reference", "unique"),
    [
        # layers (4d² + 4d + 2d) + (8d² + 5d + 2d) and the tied table, no final norm: n (12d² + 13d)
        # + 256 d; the others by the same sums
        ("sandwich.py", 6 * (12 * 64**2 + 13 * 64) + 256 * 64),
        ("sandwich.py:scale=small", 12 * (12 * 384**2 + 13 * 384) + 256 * 384),
        ("random_orders.py", 6 * (12 * 64**2 + 13 * 64) + 256 * 64),
        ("attention_distance.py", 6 * (12 * 64**2 + 13 * 64) + 256 * 64),
        ("orders.py", 6 * (12 * 64**2 + 13 * 64) + 256 * 64 + 2 * 64),
    ],
)
def test_tiny_and_small_scales_have_the_parameters_of_the_closed_form(reference, unique):
    assert described(reference)[0]["parameters"]["unique"] == unique


# These have data of their own, see below, or steps: tests/sweeps/test_halving.py.
OWN_DATA = (
    "search.py", "battery.py", "history.py", "mixer_speed.py",
    "ptb.py", "shakespeare.py", "universal_algorithmic.py", "universal_execution.py",
    "universal_agreement.py", "universal_babi.py",
    "universal_lambada.py", "universal_translation.py", "sandwich_translation.py",
    "albert_sizes.py", "albert_sharing.py", "albert_embedding.py", "albert_depth_width.py",
    "albert_sentence_order.py", "reformer_memory.py", "reformer_speed.py", "reformer_rounds.py",
    "reformer_duplication.py", "reversible_orders.py", "reversible_error.py",
    "shuffle_exchange_algorithmic.py", "shuffle_exchange_lambada.py", "shuffle_exchange_scaling.py",
    "shuffle_exchange_hybrids.py",
)  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    always(
        ["corpus=stdlib", "corpus=ptb", "scale=desk,corpus=stdlib", "scale=desk,corpus=ptb"],
        ["corpus=stdlib"],
    ),
)
def test_what_a_history_compares_has_equally_many_parameters(arguments):
    if "ptb" in arguments and not os.environ.get("ARCH_DATA_DIR"):
        pytest.skip("ARCH_DATA_DIR is not set: there is no Penn Treebank")
    rows = described(f"history.py:{arguments}")
    counts = {row["cell"]: row["parameters"]["unique"] for row in rows}
    assert counts.pop("kneser-ney") == 0 and len(counts) == 9
    assert list(counts.values()) == pytest.approx([counts["transformer"]] * 9, rel=0.015)


@pytest.mark.parametrize(
    "file",
    [pytest.param(f, marks=() if f == "sandwich.py" else SLOW) for f in FILES if f not in OWN_DATA],
)
def test_every_experiment_trains_two_steps_and_makes_its_table(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "text.txt"
    words = np.random.default_rng(0).integers(97, 123, 6000).astype(np.uint8).tobytes().decode()
    corpus.write_text("\n\n".join(words[i : i + 60] for i in range(0, 6000, 60)))
    small = ["train.steps=2", "train.batch=2", "model.width=16", "task.length=8"]
    # a program for each turn that repeats: of (sf)6 one, where a switch compiles twelve
    small += ["model.stack.apply=scan"]
    if file == "orders.py":
        small.remove("model.width=16")
        width = ",width=16"
    else:
        width = ""
    reference = f"{ROOT}/experiments/{file}:corpus=file:{corpus}{width}"
    options = [f"--config.{field}" for field in small]
    small += ["evaluate.tokens=64"] * (file == "sharing_meets_order.py")
    cell = {
        "orders.py": "(sf)6",
        "hybrids.py": "top",
        "length_extrapolation.py": "attention-alibi",
        "random_orders.py": "b00",
        "sharing_meets_order.py": "sandwich3-attention",
    }.get(file, "k0")
    command = ["sweep", f"--config={reference}", "--name=x", f"--cells={cell}", *options]
    assert launch.main(command) == 0
    lines = read_lines(tmp_path / "results" / "x")
    assert lines and all(line["status"] == "finished" for line in lines)
    assert (tmp_path / "results/x/table.md").read_text().startswith("# ")


def swept(reference, cell, *fields) -> dict:
    """The line of one cell's two steps."""
    small = ("train.steps=2", "train.batch=2", "model.width=16", *fields)
    options = [f"--config.{field}" for field in small]
    file = f"{ROOT}/experiments/{reference}"
    command = ["sweep", f"--config={file}", "--name=x", f"--cells={cell}", "--seeds=1", *options]
    assert launch.main(command) == 0
    (line,) = read_lines("results/x")
    assert line["status"] == "finished"
    assert Path("results/x/table.md").read_text().startswith("# ")
    return line


@pytest.fixture
def documents(tmp_path, monkeypatch):
    """A corpus of documents, each of several lines; the working directory is beside it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 4)) for _ in range(50)]
    lines = [" ".join(rng.choice(words, 6)) + " ." for _ in range(600)]
    text = "\n\n".join("\n".join(lines[i : i + 6]) for i in range(0, 600, 6))
    (tmp_path / "text.txt").write_text(text)
    return f"file:{tmp_path}/text.txt"


@pytest.mark.parametrize(
    ("file", "cell", "fields"),
    [
        pytest.param("albert_sharing.py", "E768-attention", ("model.width=16",), marks=SLOW),
        pytest.param("albert_depth_width.py", "L1", (), marks=SLOW),
        pytest.param("albert_sentence_order.py", "next", ("model.width=16",), marks=SLOW),
    ],
)
def test_the_albert_experiments_train_two_steps(file, cell, fields, documents):
    command = [
        "sweep", f"--config={ROOT}/experiments/{file}:corpus={documents}", "--name=x", "--seeds=1",
        f"--cells={cell}", "--config.train.steps=2", "--config.train.batch=2",
        "--config.task.tokenizer=words", "--config.task.length=16",
        "--config.task.evaluation_examples=4", *(f"--config.{field}" for field in fields),
    ]  # fmt: skip
    assert launch.main(command) == 0
    (line,) = read_lines("results/x")
    figures = line["evaluations"]["test"]
    wanted = {"accuracy", "sentence_accuracy"}
    if file == "albert_sentence_order.py":
        wanted |= {"next_accuracy", "order_accuracy"}
    assert wanted <= set(figures) and all(0 <= figures[name] <= 1 for name in wanted)
    assert Path("results/x/table.md").read_text().startswith("# ")


def evaluated(file, corpus, cell, *fields) -> dict:
    """The evaluations of the one line of a cell of width 16."""
    fields = ("model.width=16", *fields)
    command = [
        "sweep", f"--config={ROOT}/experiments/{file}:corpus={corpus}", f"--name={file}",
        f"--cells={cell}", "--seeds=1", *(f"--config.{field}" for field in fields),
    ]  # fmt: skip
    assert launch.main(command) == 0
    (found,) = [x for x in read_lines(f"results/{file}") if x["status"] == "finished"]
    return found["evaluations"]


def test_speed_and_memory_of_mixers_are_measured(documents):
    figures = evaluated("mixer_speed.py", documents, "mamba2-l1024")["measured"]
    assert figures["microseconds"] > 0 and figures["MiB"] > 0


@SLOW
def test_the_reformer_experiments_measure(documents):
    figures = evaluated("reformer_memory.py", documents, "reformer-d6-l1024")["measured"]
    assert figures["MiB"] > 0
    figures = evaluated("reformer_speed.py", documents, "lsh1-l1024")["measured"]
    assert figures["microseconds"] > 0
    figures = evaluated("reversible_error.py", documents, "float32-sandwich-12")["measured"]
    assert 0 < figures["reconstruction"] < 10 and 0 < figures["gradient"] < 1000


@SLOW
def test_the_reformer_experiments_train_and_evaluate_by_other_models(documents):
    small = ("train.steps=2", "train.batch=2", "task.length=64")
    figures = evaluated("reformer_rounds.py", documents, "lsh2", *small)
    assert {"test", "test@full", "test@lsh1", "test@lsh2", "test@lsh8"} <= set(figures)
    assert figures["test"]["loss"] == figures["test@lsh2"]["loss"] != figures["test@full"]["loss"]
    small += ("evaluate.tokens=256",)
    figures = evaluated("reversible_orders.py", documents, "random-reversible", *small)
    assert figures["valid"]["loss"] > 0


@SLOW
def test_at_16384_positions_the_reformer_needs_an_eighth_of_the_memory_at_most(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    file = f"{ROOT}/experiments/reformer_memory.py"
    assert launch.main(["sweep", f"--config={file}", "--name=x", "--cells=*former-d6-l16384"]) == 0
    lines = {line["variant"]: line["evaluations"]["measured"] for line in read_lines("results/x")}
    assert lines["reformer"]["MiB"] < lines["transformer"]["MiB"] / 8


@SLOW
def test_duplication_is_evaluated_by_all_of_the_papers_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = swept("reformer_duplication.py", "lsh2", "task.evaluation_examples=4")
    names = ("", "@full", "@lsh8", "@lsh4", "@lsh2", "@lsh1")
    losses = {name: line["evaluations"][f"valid{name}"]["loss"] for name in names}
    assert losses[""] == losses["@lsh2"] and len(set(losses.values())) == 5
    assert "| lsh2" in Path("results/x/table.md").read_text()


def test_a_model_of_other_parameters_is_refused(documents, capsys):
    file = f"{ROOT}/experiments/reformer_rounds.py:corpus={documents}"
    command = ["sweep", f"--config={file}", "--name=x", "--cells=separate", "--dry-run"]
    for models, message in (
        (".full.sublayers.s.bias=true", "evaluate.models.full: it has other parameters than"),
        ("=full", "expected evaluate.models.NAME.FIELD with a field of the model"),
        (".full=2", "expected evaluate.models.NAME.FIELD with a field of the model"),
        (".full.sublayers.s.headz=2", "model.sublayers.s.headz: no such field"),
    ):
        assert launch.main([*command, f"--config.evaluate.models{models}"]) == 2
        assert message in capsys.readouterr().err


def test_an_experiment_that_measures_writes_exact_figures_once(documents):
    command = [
        "sweep", f"--config={ROOT}/experiments/albert_sizes.py:corpus={documents}", "--name=x",
        "--cells=albert-base*all",
    ]  # fmt: skip
    assert launch.main(command) == 0
    lines = read_lines("results/x")
    assert {line["cell"]: line["evaluations"]["measured"]["millions"] for line in lines} == {
        "albert-base-E64-all": 9.681408,
        "albert-base-E256-all": 15.687936,
        "albert-base-E768-all": 31.114752,
    }
    before = Path("results/x/runs.jsonl").read_bytes()
    assert launch.main(command) == 0
    assert Path("results/x/runs.jsonl").read_bytes() == before
    row = next(x for x in Path("results/x/table.md").read_text().splitlines() if "E768-all" in x)
    assert "31.11 |" in row and "±" not in row and "single run" not in row


def test_a_measurement_that_fails_is_a_failed_line(documents, capsys):
    file = f"{ROOT}/experiments/albert_sizes.py:corpus={documents}"
    experiment = Experiment(file)

    def broken(config, task, model, seed):
        raise RuntimeError("no such thing")

    experiment.contents = dataclasses.replace(experiment.contents, measure=broken)
    sweep = sweeps.Sweep(experiment, name="x", cells="albert-base-E64-all")
    assert running.run(sweep) == 1
    (line,) = read_lines("results/x")
    assert (line["status"], line["error"]) == ("failed", "RuntimeError: no such thing")
    assert "no such thing" in capsys.readouterr().err


def test_shared_models_are_widened_to_the_baselines_parameters():
    rows = {row["cell"]: row for row in described("sharing_meets_order.py")}
    assert len(rows) == 21
    base = rows["vanilla-none"]["parameters"]["unique"]
    for sharing in ("none", "attention", "ffn", "all"):
        same = [row for name, row in rows.items() if name.endswith(f"-{sharing}")]
        assert len(same) == 3
        assert len({row["parameters"]["unique"] for row in same}) == 1
        assert {row["parameters"]["applied"] for row in same} == {base}
        assert len({row["flops_per_token"] for row in same}) == 1
        if sharing != "none":
            wide = rows[f"vanilla-{sharing}-wide"]["parameters"]["unique"]
            assert wide == pytest.approx(base, rel=0.07)


@SLOW
def test_the_execution_experiment_trains_and_decodes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ("task.training_examples=64", "task.evaluation_examples=4")
    line = swept("universal_execution.py", "program-ut", *few)
    figures = line["evaluations"]["test"]
    for way in ("teacher_forced", "free_running"):
        assert 0 <= figures[f"sequence_accuracy_{way}"] <= figures[f"token_accuracy_{way}"] <= 1


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=() if m == "lstm" else SLOW) for m in ("lstm", "ut_act")]
)
def test_the_agreement_experiment_asks_for_every_number_of_attractors(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ("task.evaluation_examples=8", "task.nouns=9")
    found = swept("universal_agreement.py", model, *few)["evaluations"]
    assert {"valid", "test", *(f"attractors{k}" for k in range(6))} == set(found)
    assert all(0 <= figures["accuracy"] <= 1 for figures in found.values())
    assert "## Accuracy by the number of attractors" in Path("results/x/table.md").read_text()


@SLOW
@pytest.mark.parametrize("model", ["lstm", "ut_act"])
def test_the_algorithmic_experiment_trains_and_decodes(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lengths = ("task.length=4", "task.multiples=1,2", "task.evaluation_examples=4")
    line = swept(
        "universal_algorithmic.py", f"addition-{model}", *lengths, "evaluate.splits=valid,x2"
    )
    for split in ("valid", "x2"):
        figures = line["evaluations"][split]
        for way in ("teacher_forced", "free_running"):
            assert 0 <= figures[f"sequence_accuracy_{way}"] <= figures[f"token_accuracy_{way}"] <= 1
    assert ("ponder_time" in line["evaluations"]["x2"]) == (model == "ut_act")


@SLOW
@pytest.mark.parametrize("model", ["nse", "rse_features", "ut", "transformer"])
def test_the_shuffle_exchange_experiment_trains_and_tests_at_every_length(
    model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    small = (
        "train.steps=2", "train.batch=2", "task.bins=4,8", "task.lengths=8,16",
        "task.evaluation_examples=4", "evaluate.splits=valid,n8,n16",
    )  # fmt: skip
    file = f"{ROOT}/experiments/shuffle_exchange_algorithmic.py"
    command = ["sweep", f"--config={file}", "--name=x", f"--cells=addition-{model}", "--seeds=1"]
    assert launch.main([*command, *(f"--config.{field}" for field in small)]) == 0
    (line,) = read_lines("results/x")
    for split in ("n8", "n16"):
        figures = line["evaluations"][split]
        assert 0 <= figures["sequence_accuracy"] <= figures["token_accuracy"] <= 1
        assert figures["sequences"] == 4 >= figures["wrong_sequences"]
    assert "paper, trained to 64" in Path("results/x/table.md").read_text()
    assert Path("results/x/length-addition.svg").exists()


@SLOW
def test_the_scaling_experiment_measures_and_compares(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = f"{ROOT}/experiments/shuffle_exchange_scaling.py"
    for cell in ("rse-l64", "full-l64", "growth-l128"):
        command = ["sweep", f"--config={file}", "--name=x", f"--cells={cell}", "--seeds=1"]
        assert launch.main([*command, "--config.model.dtype=float32"]) == 0
    rse, full, growth = [line["evaluations"]["measured"] for line in read_lines("results/x")]
    assert all(min(x["MiB"], x["seconds"], x["evaluation_seconds"]) > 0 for x in (rse, full))
    assert min(growth[x] for x in ("growth", "evaluation_growth", "seconds")) > 0
    table = Path("results/x/table.md").read_text()
    assert "as long in the memory of 4,096" in table and "131,072" in table


@pytest.mark.slow
def test_shuffle_exchange_networks_and_what_they_are_compared_with_are_about_equal():
    counts = {}
    for file in ("algorithmic", "scaling"):
        rows = described(f"shuffle_exchange_{file}.py")
        counts[file] = {row["cell"]: row["parameters"]["unique"] for row in rows}
    sorting = [counts["algorithmic"][f"sorting-{m}"] for m in ("nse", "rse", "ut", "transformer")]
    assert max(sorting) < 1.15 * min(sorting)
    scaling = [counts["scaling"][f"{m}-l64"] for m in ("nse", "rse", "full", "lsh", "ut")]
    assert max(scaling) < 1.1 * min(scaling)
    rows = {row["cell"]: row for row in described("shuffle_exchange_algorithmic.py:scale=paper")}
    unit = 16 * 384**2 + 8 * 384
    assert rows["multiplication-rse"]["parameters"]["by_letter"] == {"x": 5 * unit}
    assert rows["sorting-nse"]["parameters"]["by_letter"] == {"x": 3 * (16 * 192**2 + 8 * 192)}
    words = {row["cell"]: row for row in described("shuffle_exchange_lambada.py:corpus=stdlib")}
    assert set(words) == {"nse", "rse", "rse_features", "ut", "transformer"}
    hybrids = [row["parameters"]["unique"] for row in described("shuffle_exchange_hybrids.py")]
    assert len(hybrids) == 6 and max(hybrids) < 1.01 * min(hybrids)


@SLOW
@pytest.mark.parametrize("cell", ["amid", "blocks"])
def test_benes_blocks_beside_attention_find_hidden_tokens(cell, documents):
    line = swept(
        f"shuffle_exchange_hybrids.py:corpus={documents}", cell, "train.batch=2",
        "task.tokenizer=words", "task.length=16", "task.evaluation_examples=4",
    )  # fmt: skip
    assert 0 <= line["evaluations"]["test"]["accuracy"] <= 1


@SLOW
@pytest.mark.parametrize(
    ("reference", "cell"),
    [("universal_translation.py", "ut_act"), ("sandwich_translation.py", "decoder-k1")],
)
def test_the_translation_experiments_train_and_say_bleu(reference, cell, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pairs"
    folder.mkdir()
    words = ["ein", "mann", "geht", "und", "steht", "rot", "haus", "hund", "sieht", "baum"]
    rng = np.random.default_rng(0)
    for split, n in (("train", 60), ("valid", 6), ("test", 6)):
        lines = [" ".join(rng.choice(words, rng.integers(2, 9))) for _ in range(n)]
        (folder / f"{split}.de").write_text("\n".join(lines) + "\n")
        (folder / f"{split}.en").write_text("\n".join(x.upper() for x in lines) + "\n")
    line = swept(
        reference, cell, f"task.corpus=file:{folder}", "task.tokenizer=bpe:300", "task.length=32",
        "task.buckets=16,32", "task.beam=2",
    )  # fmt: skip
    figures = line["evaluations"]["test"]
    assert 0 <= figures["bleu"] <= 100
    assert "tok:13a" in figures["bleu_signature"]
    assert line["tokens"] > 0
    run = arch.load(f"runs/x/{cell}-{line['hash'][:8]}")
    assert isinstance(run.generate("ein mann geht"), str)
    assert "A" not in run.generate("ein mann geht", beams=3, length_penalty=1.0, stop="A")


@SLOW
def test_the_babi_experiment_answers_and_charts_its_halting(tmp_path, monkeypatch):
    folder = Path(os.environ.get("ARCH_DATA_DIR", "")) / "babi"
    if not folder.is_dir():
        pytest.skip("bAbI is read from ARCH_DATA_DIR/babi, which is not there")
    monkeypatch.chdir(tmp_path)
    line = swept("universal_babi.py", "task01-ut_act")
    assert line["evaluations"]["test"]["questions"] == 1000
    assert line["evaluations"]["test"]["supporting_facts"] == 1
    assert (tmp_path / "results/x/halting-task01.svg").exists()


def test_the_babi_models_have_the_parameters_of_the_closed_form():
    if not (Path(os.environ.get("ARCH_DATA_DIR", "")) / "babi").is_dir():
        pytest.skip("bAbI is read from ARCH_DATA_DIR/babi, which is not there")
    rows = {row["cell"]: row["parameters"] for row in described("universal_babi.py")}
    layer = 12 * 64**2 + 13 * 64  # attention 4d² + 4d, feed-forward 8d² + 5d, two norms 4d
    ut, act, plain = (rows[f"task01-{m}"] for m in ("ut", "ut_act", "transformer"))
    assert sum(ut["by_letter"].values()) == layer
    assert sum(plain["by_letter"].values()) == 4 * layer
    assert act["unique"] - ut["unique"] == 64 + 1
    assert ut["applied"] == plain["applied"]


@pytest.mark.parametrize(
    ("reference", "cell", "letters"),
    [
        # encoder 12d² + 13d; decoder's scf 16d² + 4d + 4d + 5d + 6d
        ("universal_algorithmic.py", "copy-ut", 28 * 64**2 + 13 * 64 + 19 * 64),
        ("universal_algorithmic.py", "copy-transformer", 3 * (28 * 64**2 + 32 * 64)),
        # an LSTM 8d² + 4d and its norm 2d, attention 4d² + 4d and its norm 2d
        ("universal_algorithmic.py", "copy-lstm", 4 * (8 * 64**2 + 6 * 64) + 2 * (4 * 64**2 + 384)),
        # as tensor2tensor has it, attention without biases: 28d² + 2d + 7d + 2d + 2d + 7d
        ("universal_translation.py:scale=paper", "ut", 28 * 1024**2 + 20 * 1024),
        ("universal_translation.py:scale=paper", "transformer", 6 * (28 * 512**2 + 20 * 512)),
        ("sandwich_translation.py:scale=paper", "encoder-k5", 6 * (28 * 512**2 + 20 * 512)),
    ],
)
def test_encoder_decoders_have_the_parameters_of_the_closed_form(reference, cell, letters):
    rows = {row["cell"]: row["parameters"] for row in described(reference)}
    assert sum(rows[cell]["by_letter"].values()) == letters


def test_sandwiches_of_either_half_have_equal_parameters_and_the_papers_orders():
    rows = {row["cell"]: row for row in described("sandwich_translation.py:scale=paper")}
    assert len(rows) == 11
    assert len({row["parameters"]["unique"] for row in rows.values()}) == 1
    assert rows["baseline"]["order"] == "sf" * 6 + "|" + "scf" * 6
    assert rows["decoder-k1"]["order"] == "sf" * 6 + "|" + "sc" + "scf" * 5 + "f"
    assert rows["encoder-k5"]["order"] == "s" * 5 + "sf" + "f" * 5 + "|" + "scf" * 6


def test_orders_are_matched_in_parameters_by_solving_for_the_width():
    rows = described("orders.py:orders=(sf)6;s9f3;s3f9,match=parameters")
    counts = [row["parameters"]["unique"] for row in rows]
    assert counts[1] == pytest.approx(counts[0], rel=0.07)
    assert counts[2] == pytest.approx(counts[0], rel=0.07)
    unmatched = [
        row["parameters"]["unique"] for row in described("orders.py:orders=(sf)6;s9f3;s3f9")
    ]
    assert abs(counts[1] - counts[0]) < abs(unmatched[1] - unmatched[0])


def test_orders_are_matched_in_flops_by_solving_for_the_width():
    rows = described("orders.py:orders=(sf)6;s3f9,match=flops")
    flops = [row["flops_per_token"] for row in rows]
    assert flops[1] == pytest.approx(flops[0], rel=0.07)


def test_the_earth_movers_distance_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.dirichlet(np.ones(12), 5), rng.dirichlet(np.ones(12), 5)
    assert attention_distance.earth_mover(a, b) == pytest.approx(
        attention_distance.earth_mover_by_scipy(a, b)
    )


def test_heads_are_matched_whatever_their_order():
    heads = np.random.default_rng(0).dirichlet(np.ones(12), (4, 5))
    assert attention_distance.matched(heads, heads[::-1]) == pytest.approx(0)
    assert attention_distance.matched(heads, np.roll(heads, 1, axis=-1)) > 0


def test_committed_tables_are_what_report_makes_of_the_committed_lines(tmp_path):
    """A table is generated, never typed."""
    folders = [p.parent for p in (ROOT / "results").glob("*/runs.jsonl") if p.parent.name != "demo"]
    assert folders
    for folder in folders:
        copy = tmp_path / folder.name
        copy.mkdir()
        pictures = [path.name for path in folder.glob("*.svg")]  # tables name them
        for name in ("runs.jsonl", "curves.jsonl", "experiment.json", *pictures):
            if (folder / name).exists():
                (copy / name).write_bytes((folder / name).read_bytes())
        write_report(copy, ("md", "csv"))
        for made in copy.glob("table.*"):
            assert made.read_text() == (folder / made.name).read_text(), f"{folder / made.name}"


def test_every_table_is_made_while_a_sweep_trains_anew_what_is_committed(tmp_path, monkeypatch):
    """As in a clean clone: run folders are there, and what results/ has was not trained in them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    made = 0
    for file in sorted((ROOT / "results").glob("*/experiment.json")):
        folder, lines = file.parent, read_lines(file.parent)
        for line in lines:
            path = RunFolder.of(Path("runs"), folder.name, line["cell"], line["hash"]).path
            path.mkdir(parents=True, exist_ok=True)
        try:
            experiment = stored_experiment(folder)
        except ConfigurationError as error:
            assert "ARCH_DATA_DIR" in str(error), error
            continue
        known = present_results(experiment, lines)
        cells = experiment.cells(known)
        assert experiment.table(cells, known)["title"]
        experiment.claims(cells, known)
        made += 1
    assert made > 20


def test_describe_prints_one_object_a_cell(capsys):
    assert launch.main(["describe", f"--config={ROOT}/experiments/sandwich.py", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["cell"] for row in rows] == [f"k{k}" for k in range(6)]
    assert set(rows[0]) >= {"cell", "variant", "order", "parameters", "flops_per_token"}
    assert set(rows[0]["parameters"]) == {"unique", "applied", "embedding", "by_letter"}
