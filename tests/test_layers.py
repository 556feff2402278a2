"""Imports run down the list of rooms in pyproject.toml, and only named files stand at the top."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"


def test_imports_run_down_the_list_of_rooms():
    done = subprocess.run([sys.executable, "-c", LINT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_stands_at_the_top_that_has_a_room():
    assert {path.name for path in (ROOT / "arch").glob("*.py")} == {
        "__init__.py", "checks.py", "context.py", "layers.py", "order.py", "plugins.py",
        "registry.py",
    }  # fmt: skip


@pytest.mark.parametrize("room", ["arch", "experiments"])
def test_a_file_reads_top_to_bottom_and_a_function_fits_a_screen(room):
    for path in (ROOT / room).rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 320, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"
