"""Imports run down the list of rooms in pyproject.toml, and only named files stand at the top."""

import subprocess
import sys
from pathlib import Path

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
