"""gpu.sh, which needs a GPU: what of it this machine can show."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import gpu

SCRIPT = Path(__file__).resolve().parents[1] / "gpu.sh"


def test_the_script_is_sound():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", SCRIPT], check=True)


@pytest.mark.parametrize("check", ["parity:vanilla", "attention:256"])
def test_a_check_passes_on_the_cpu(check, monkeypatch, capsys):
    monkeypatch.setenv("GPU_PLATFORM", "cpu")
    assert gpu.main([check]) == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert found["passed"] and found["check"] == check.split(":")[0]


def test_what_is_too_far_apart_fails(monkeypatch, capsys):
    monkeypatch.setenv("GPU_PLATFORM", "cpu")
    monkeypatch.setattr(gpu, "FUSED", 1e-9)
    assert gpu.main(["attention:256"]) == 1
