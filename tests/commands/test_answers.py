"""Answers to programs: --json on every command that tells of something, and nothing else there."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest

from arch.commands import answers
from arch.commands.flags import COMMANDS, Answers
from tests import cli

PLUGIN = """
from arch.sweeps.executors import EXECUTORS, Executor

@EXECUTORS.register("nobody")
class Nobody(Executor):
    def run(self, jobs, stop, settled):
        return {}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    folder = cli.copy_swept(tmp_path_factory.mktemp("swept"))
    shutil.copytree(folder / "results/small", folder / "results/kept")
    (folder / "nobody.py").write_text(PLUGIN)
    return folder


def told(swept: Path, *argv: str) -> list[dict]:
    """The objects that a command prints."""
    done = cli.run(*argv, "--json", cwd=swept)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_the_commands_that_tell_of_something_answer():
    assert {name for name, command in COMMANDS.items() if issubclass(command, Answers)} >= {
        "list", "check", "describe", "plan", "status", "claims", "audit", "evaluate", "generate",
        "verify",
    }  # fmt: skip


def test_what_else_is_printed_goes_to_stderr(capsys):
    with answers.nothing_else():
        print("a note")
        answers.answer({"loss": math.nan, "of": ({"seed": 1, "perplexity": math.inf},)})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"loss": None, "of": [{"seed": 1, "perplexity": None}]}
    assert err == "a note\n" and sys.stdout is not sys.stderr


def test_status_of_all_sweeps(swept):
    kept, small = told(swept, "status")
    assert (kept["name"], kept["runs"], kept["results"]) == ("kept", None, "results/kept")
    assert (small["name"], small["runs"], small["results"]) == (
        "small", "runs/small", "results/small",
    )  # fmt: skip
    assert small["cells"] == kept["cells"] == 2 and small["states"] == {"finished": 2}
    text = cli.run("status", cwd=swept).out
    assert "│ kept " in text and "│ small " in text and "status --name=NAME" in text


def test_status_of_one_sweep_names_its_runs(swept):
    for cell in told(swept, "status", "--name=small"):
        assert cell["state"] == "finished" and cell["step"] == cell["steps"] == cli.STEPS
        assert (swept / cell["run"] / "config.json").is_file()
        assert f"\n  {cell['run']}\n" in cli.run("status", "--name=small", cwd=swept).out
        assert f"\n  {cell['run']}\n" in cli.run("report", "--name=small", cwd=swept).out
    alone = told(swept, "status", "--name=kept")
    assert [(c["cell"], c["state"], c["run"]) for c in alone] == [
        ("sf", "finished", None), ("fs", "finished", None),
    ]  # fmt: skip


def test_status_where_nothing_was_swept(tmp_path):
    assert told(tmp_path, "status") == []
    assert "no sweep in runs/ or results/" in cli.run("status", cwd=tmp_path).out


def test_generate_verify_audit_check_and_claims(swept):
    run = str(cli.folder_of(swept / "runs/small", "sf").path.relative_to(swept))
    (made,) = told(swept, "generate", f"--run={run}", "--prompt=ab", "--tokens=3")
    assert made["prompt"] == "ab" and made["run"] == run and made["seed"] == made["draw"] == 0
    assert len(made["text"].encode("latin-1", "replace")) >= 1
    assert told(swept, "verify", f"--run={run}") == [
        {"seed": s, "first": 60, "last": 80, "equal": True, "largest_difference": 0.0}
        for s in (0, 1)
    ]
    assert told(swept, "audit", "--name=small") == [{"name": "small", "findings": []}]
    assert told(swept, "check", "--plugins=nobody.py") == [
        {"noun": "executor", "kind": "nobody", "tried": ["has the members of its contract"]}
    ]
    assert told(swept, "claims") == []
