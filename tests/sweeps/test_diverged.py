"""Divergence is a result and no figure: it is counted, shown with its cause, never averaged."""

import json
import math

from tests import cli


def test_rates_that_explode_are_counted_and_left_out_of_every_figure(tmp_path):
    rates = [f'Cell("r{r}", {{"train.optimizer.learning_rate": {r}}}), ' for r in ("1e3", "1e30")]
    hot = "".join(rates) + 'Cell("sf"'
    # no clipping: the losses of the middle rate grow, and stay finite
    cli.write_small(tmp_path, ('Cell("sf"', hot), ('"batch": 4}', '"batch": 4, "clip": 0.0}'))
    done = cli.run("sweep", "--config=small.py", "--cells=[rs]*", cwd=tmp_path)
    assert done.code == 1
    folder = tmp_path / "results/small"
    lines = [json.loads(text) for text in (folder / "runs.jsonl").read_text().splitlines()]
    by_cell = {cell: [x for x in lines if x["cell"] == cell] for cell in ("r1e3", "r1e30", "sf")}
    assert {x["status"] for x in by_cell["r1e3"]} == {"diverged"}
    assert {x["status"] for x in by_cell["r1e30"]} == {"nan"}
    assert {x["status"] for x in by_cell["sf"]} == {"finished"}
    for line in by_cell["r1e3"]:
        valid = line["evaluations"]["valid"]
        assert valid["loss"] > math.log(256)
        assert valid["perplexity"] == math.inf or valid["perplexity"] > 256
        assert f"from step {line['stopped_step']} on" in line["error"]
    table = (folder / "table.md").read_text()
    row = next(text for text in table.splitlines() if text.startswith("| r1e3 "))
    assert "2 diverged of 2 (step" in row and "+" not in row and "[" not in row
    assert "2 NaN of 2" in table
    assert "diverged: training loss" in table
    assert max(map(len, table.split())) < 100  # no figure of 300 digits
    for cell, state in (("r1e3", "diverged"), ("r1e30", "nan"), ("sf", "finished")):
        assert cli.folder_of(tmp_path / "runs/small", cell).state["state"] == state
        assert (f"cell {cell}: no seed finished" in done.err) == (state != "finished")
    described = json.loads((folder / "experiment.json").read_text())
    assert described["numerics"] == {"r1e3": 2, "r1e30": 2, "sf": 2}
    for cell in ("r1e3", "r1e30", "sf"):  # bytes of a text: some nats below guessing
        assert 1 < described["trivial"][cell]["valid"] < math.log(256)
    told = cli.run("status", "--name=small", cwd=tmp_path).out
    assert "diverged" in told and "seed 0" in told and "step" in told
    # what has diverged is not trained again, and is still no success
    assert cli.run("sweep", "--config=small.py", "--cells=[rs]*", cwd=tmp_path).code == 1
