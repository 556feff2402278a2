"""Every experiment at every scale is described in shapes, in seconds; what paper scales have."""

import json
import time
from pathlib import Path

import pytest

from arch.registry import ConfigurationError
from arch.sweeps.experiment import Experiment, Results
from arch.training import describe
from experiments.papers import dehghani2018
from tests.families import always

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.name
    for path in (ROOT / "experiments").glob("*.py")
    if "def get_config" in path.read_text()
)
MOST_SECONDS = 20.0  # of this process; 5 at most on an idle machine


def references():
    for file in FILES:
        declared = Experiment(str(ROOT / "experiments" / file)).contents.ARGUMENTS
        scales = declared.get("scale", ("",))
        yield from (f"{file}:scale={scale}" if scale else file for scale in scales)


# an experiment of each paper and family; the others, and smaller scales, with the slow ones
ALWAYS = (
    "albert_sizes.py", "battery.py", "history.py", "hybrids.py", "random_orders.py",
    "reformer_rounds.py", "sandwich.py", "shuffle_exchange_lambada.py", "universal_translation.py",
)  # fmt: skip


def largest():
    """Of each of these its largest scale."""
    last = {reference.split(":")[0]: reference for reference in references()}
    return [last[file] for file in ALWAYS]


def configurations(reference):
    """Cell → configuration."""
    experiment = Experiment(str(ROOT / "experiments" / reference))
    cells = experiment.cells(Results([], *experiment.metric))
    return {cell.name: experiment.config(cell) for cell in cells}


def kind_of_model(config):
    """Equal for models that differ in nothing but the places of their sublayers."""
    model = config.model.to_dict()
    orders = sorted(model.pop("order")), sorted(model.pop("encoder_order"))
    return json.dumps([model, orders], default=str)


@pytest.mark.parametrize("reference", always(references(), largest()))
def test_every_experiment_is_described_at_every_scale_in_seconds(reference):
    start = time.process_time()
    distinct = {kind_of_model(config): config for config in configurations(reference).values()}
    try:
        rows = [describe.describe("x", "", config) for config in distinct.values()]
    except ConfigurationError as error:
        if "ARCH_DATA_DIR" not in str(error):
            raise
        pytest.skip(f"its data is not here: {error}")
    assert time.process_time() - start < MOST_SECONDS
    assert all(row["parameters"]["unique"] > 0 and row["memory_bytes"] > 0 for row in rows)


@pytest.mark.parametrize(
    "reference",
    ["universal_translation.py", "universal_lambada.py", "universal_algorithmic.py",
     "universal_babi.py"],
)  # fmt: skip
def test_the_papers_universal_transformers_are_the_variants_own(reference):
    """No biases in attention, dropout in both sublayers, a learned step signal, no clipping."""
    for name, config in configurations(f"{reference}:scale=paper").items():
        assert config.train.clip == 0.0, name
        for letter, sublayer in config.model.sublayers.items():
            wanted = {
                "attention": dehghani2018.ATTENTION, "feed_forward": dehghani2018.FEED_FORWARD,
            }.get(sublayer.kind, {})  # fmt: skip
            assert {field: sublayer[field] for field in wanted} == wanted, (name, letter)
        if config.model.stack.kind == "universal":
            assert config.model.stack.step_signal == "learned", name


def test_at_paper_scale_each_model_of_translation_is_its_own_papers_base():
    found = configurations("universal_translation.py:scale=paper")
    sizes = {
        n: (c.model.width, c.model.sublayers.s.heads, c.model.dropout) for n, c in found.items()
    }
    assert sizes == {"transformer": (512, 8, 0.1), "ut": (1024, 16, 0.3), "ut_act": (1024, 16, 0.3)}
    rates = {name: config.train.optimizer.learning_rate for name, config in found.items()}
    assert rates["transformer"] == dehghani2018.adam(512)["learning_rate"]
    assert rates["ut"] == dehghani2018.adam(1024)["learning_rate"]
    sandwich = configurations("sandwich_translation.py:scale=paper")
    assert {c.train.optimizer.learning_rate for c in sandwich.values()} == {rates["transformer"]}


def test_full_attention_of_the_reformers_paper_scale_fits_an_accelerator():
    found = configurations("reformer_rounds.py:scale=paper")
    config = found["full"]
    heads, length = config.model.sublayers.s.heads, config.task.length
    scores = config.train.batch * heads * length**2 * 2  # bytes in bfloat16
    assert scores < 24 * 2**30
