"""`log.norms`: what a sweep writes of each position, to its lines, curves, pictures, trackers."""

import numpy as np
import pytest

from arch.report.curves import read_curves
from tests import cli
from tests.sweeps.test_tracking import PLUGIN

NORMS = {"gradient_norms", "stream_norms", "update_norms"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = cli.write_small(tmp_path_factory.mktemp("norms"))
    (folder / "mine.py").write_text(PLUGIN)
    done = cli.run(
        "sweep", "--config=small.py", "--cells=sf", "--config.log.norms=True", "--name=x",
        "--config.train.accumulate=2", "--config.plugins=mine.py", "--track=kept", cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.err
    return folder


def test_metrics_have_a_number_at_each_position_and_curves_the_last(folder):
    run = cli.folder_of(folder / "runs/x", "sf").seed(0)
    trained = [x for x in run.lines("metrics.jsonl") if "split" not in x]
    (curve,) = [x for x in read_curves(folder / "results/x") if x["seed"] == 0]
    assert curve["norms"].keys() == NORMS
    for name in NORMS:
        assert all(len(x[name]) == 2 and min(x[name]) > 0 for x in trained)
        assert curve["norms"][name] == pytest.approx(trained[-1][name], rel=1e-5)
    # of all weights the two positions' are a part
    parts = [np.hypot(*x["gradient_norms"]) for x in trained]
    assert all(0 < part < x["gradient_norm"] for part, x in zip(parts, trained, strict=True))


def test_each_norm_is_a_picture_of_the_table_and_a_figure_of_trackers(folder):
    table = (folder / "results/x/table.md").read_text()
    for name in NORMS:
        assert (folder / f"results/x/{name}.svg").exists() and f"({name}.svg)" in table
    told = (folder / "kept.jsonl").read_text()
    assert '"train/stream_norms/00"' in told and '"train/stream_norms/01"' in told
