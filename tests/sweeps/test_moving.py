"""A run that goes on elsewhere than it began is said to, keeps it in its line, or is refused."""

from pathlib import Path

import pytest

from arch.report.lines import read_lines
from arch.runs import provenance
from arch.sweeps import machine
from tests import cli


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """A folder in which a cell's two seeds were trained."""
    folder = cli.write_small(tmp_path_factory.mktemp("undisturbed"))
    done = cli.run("sweep", "--config=small.py", "--cells=sf", cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def half(undisturbed, tmp_path, monkeypatch) -> Path:
    """The same, as if its second seed had been killed at its last save but one."""
    monkeypatch.chdir(cli.copy(undisturbed, tmp_path))
    seed = cli.folder_of(tmp_path / "runs/small", "sf").seed(1)
    (seed.path / "summary.json").unlink()
    cli.forget_checkpoint(seed, cli.STEPS)
    return tmp_path


def sweep(*more: str) -> cli.Outcome:
    return cli.run("sweep", "--config=small.py", "--cells=sf", *more)


def on_another(monkeypatch, **changes: object) -> None:
    here = {**machine.device(), **changes}
    monkeypatch.setattr(machine, "device", lambda: here)


def line() -> dict:
    return next(line for line in read_lines("results/small") if line["seed"] == 1)


def test_on_the_same_machine_nothing_is_said(half):
    done = sweep("--strict")
    assert done.code == 0 and "another machine" not in done.err
    assert "moved_from" not in line()


@pytest.mark.parametrize(
    "changes", [{"cores": 99}, {"device_name": "Another CPU"}], ids=["cores", "processor"]
)
def test_another_processor_is_said_and_stands_in_the_line(half, monkeypatch, changes):
    before = machine.device()
    on_another(monkeypatch, **changes)
    refused = sweep("--strict")
    assert refused.code == 2 and refused.err.count("\n") == 1
    ((field, value),) = changes.items()
    said = f"sf seed 1: went to step 60 on another machine ({field} {before[field]} → {value})"
    assert said in refused.err and "--rerun=sf" in refused.err
    done = sweep()
    assert done.code == 0
    assert [text for text in done.err.splitlines() if "another machine" in text] == [
        f"{said}, and its bits may differ from an undisturbed run's"
    ]
    (moved,) = line()["moved_from"]
    assert moved["step"] == 60 and moved["machine"][field] == before[field]
    assert line()[field] == value
    assert (
        "Begun on another machine: sf seed 1 to step 60"
        in Path("results/small/table.md").read_text()
    )


def test_another_version_is_said_and_stays_known_over_a_second_stop(half, monkeypatch):
    versions = {**provenance.versions(), "jax": "99.0"}
    seed = cli.folder_of(half / "runs/small", "sf").seed(1)
    with monkeypatch.context() as patched:
        patched.setattr(provenance, "versions", lambda: versions)
        done = sweep()
        assert "→ 99.0" in done.err
    (seed.path / "summary.json").unlink()
    done = sweep()  # back home: it is another machine than the one before, again
    assert "jax 99.0 → " in done.err
    assert [moved["step"] for moved in line()["moved_from"]] == [60, 80]
    assert line()["moved_from"][1]["versions"]["jax"] == "99.0"


@pytest.mark.slow
def test_a_worker_process_refuses_as_well(half):
    """A worker has one core of its own, and the run began on all."""
    if machine.device()["cores"] == 1:
        pytest.skip("a worker has as many cores as this process")
    refused = sweep("--strict", "--executor=processes")
    assert refused.code == 2 and refused.err.count("\n") == 1
    assert "(cores " in refused.err and "→ 1)" in refused.err
