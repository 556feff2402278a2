"""What a shell completes, tried in bash."""

import shutil
import subprocess

import pytest

from tests import cli

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="no bash is here")


@pytest.fixture(scope="module")
def script() -> str:
    return cli.run("--print-completion", "bash").out


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last word."""
    typed = " ".join(f"'{word}'" for word in ("launch.py", *words))
    ask = (
        f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_launch_py; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash"], input=f"{script}\n{ask}\n", cwd=cli.REPOSITORY, capture_output=True, text=True
    )
    assert not done.stderr
    return done.stdout.split()


def test_commands_flags_and_files_are_completed(script):
    assert completed(script, "sw") == ["sweep"]
    assert completed(script, "sweep", "--ex") == ["--executor"]
    assert "experiments/sandwich.py" in completed(
        script, "describe", "--config", "experiments/sand"
    )


def test_a_flag_of_another_command_is_not(script):
    assert completed(script, "list", "--ex") == []
