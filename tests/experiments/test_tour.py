"""The tour as a notebook: its cells run from top to bottom, here in fewer steps."""

import json
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "experiments" / "tour.ipynb"


def cells(kind: str) -> list[str]:
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def test_it_is_committed_without_outputs():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")


@pytest.mark.slow
def test_its_cells_run(tmp_path, monkeypatch, corpus, capsys):
    matplotlib.use("agg")
    for name in ("launch.py", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    quick = {
        "train.steps=400": "train.steps=6", "evaluate.every=100": "evaluate.every=3",
        "train.steps=40": "train.steps=3",
    }  # fmt: skip
    names: dict = {}
    for text in cells("code"):
        for whole, part in quick.items():
            text = text.replace(whole, part)
        exec(compile(text, NOTEBOOK.name, "exec"), names)  # as the reader runs it
    assert names["baseline"].title != names["sandwich"].title
    assert "tour_gate" in names["plugin"].read_text()
    out = capsys.readouterr().out
    assert "(sf)4" in out and "sublayer 'tour_gate': keeps" in out and "| k3" in out
    assert (tmp_path / "results/tour/table.md").exists()
