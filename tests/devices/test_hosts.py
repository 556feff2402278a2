"""Several processes that train together: what they refuse, and that they give what one gives."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import arch
from arch.devices import hosts, mesh
from arch.registry import ConfigurationError
from arch.report.lines import read_lines
from arch.runs.checkpoints import Checkpoints
from tests import cli

MESH = "--config.train.mesh.data=2"
DIVIDED = "--config.train.mesh.fsdp=2"


# a process that sees nobody's lock, as on a machine that does not share the run's folder
BLIND = """import runpy, sys
from arch.runs import locks
locks.holder = lambda folder: None
sys.argv[0] = "launch.py"
runpy.run_path("launch.py", run_name="__main__")"""


def start(
    folder: Path, *words: str, processes: int = 2, devices: int = 1, shared: bool = True
) -> list:
    """launch.py sweep in so many processes that train together; of one, alone. shared: whether all
    of them see the first one's folders."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    started = []
    for index in range(processes):
        environment = {
            **os.environ,
            "PYTHONPATH": str(cli.REPOSITORY),
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(processes),
            "JAX_PROCESS_ID": str(index),
        }
        program = ["launch.py"] if shared or index == 0 else ["-c", BLIND]
        command = [sys.executable, *program, "sweep", "--config=small.py", *words]
        command += ["--distributed"] if processes > 1 else []
        with open(folder / f"log{index}.txt", "a") as log:
            started.append(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            )
    return started


def end(started: list, seconds: float = 900) -> list[int]:
    try:
        return [process.wait(seconds) for process in started]
    finally:
        for process in started:
            process.kill()


def said(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("log*.txt")))


def wait_for_step(folder: Path, name: str, step: int) -> None:
    pattern = f"runs/{name}/sf-*/seed0/metrics.jsonl"
    for _ in range(3000):
        if any(f'"step": {step}' in path.read_text() for path in folder.glob(pattern)):
            return
        time.sleep(0.2)
    raise AssertionError(said(folder))


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    """Of one cell and seed; the second process writes nothing, and its table is the first's."""
    cli.write_small(tmp_path)
    few = "--config.train.steps=6", "--config.log.every=3"
    only = MESH, "--cells=sf", "--seeds=1", *few
    assert end(start(tmp_path, *only, "--name=two")) == [0, 0], said(tmp_path)
    assert end(start(tmp_path, *only, "--name=one", "--fresh", processes=1, devices=2)) == [0]
    two, one = (read_lines(tmp_path / "results" / name)[0] for name in ("two", "one"))
    assert two["hash"] == one["hash"]
    assert two["replicas"]["hosts"] == 2 and two["replicas"]["mesh"] == {"data": 2}
    np.testing.assert_allclose(
        two["evaluations"]["valid"]["loss"], one["evaluations"]["valid"]["loss"], rtol=1e-5
    )
    assert "written" not in (tmp_path / "log1.txt").read_text()


def parts(folder: Path) -> int:
    """How many parts the newest checkpoint of a run's seed 0 names for its embedding."""
    checkpoints = Checkpoints(folder / "seed0" / "checkpoints")
    meta = checkpoints.restore(checkpoints.steps()[-1])[1]
    checkpoints.close()
    digest = meta["array_digests"]["parameters.embedding.tokens.table"]
    return len(digest) if isinstance(digest, dict) else 0


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_a_host_asked_to_stop_and_one_killed_are_made_good_by_the_next_start(tmp_path, shared):
    """Of parameters that the hosts divide. Where both see the run's folder each saves its part;
    where the second does not, the first saves all and sends it."""
    cli.write_small(tmp_path)
    only = DIVIDED, "--cells=sf", "--seeds=1", "--config.save.every=10"
    name = *only, "--name=two"
    started = start(tmp_path, *name, shared=shared)
    wait_for_step(tmp_path, "two", 20)
    started[1].send_signal(signal.SIGTERM)  # as a preemption notice to any of them
    assert end(started) == [130, 130], said(tmp_path)
    started = start(tmp_path, *name, shared=shared)
    wait_for_step(tmp_path, "two", 50)
    started[1].kill()
    codes = end(started)
    assert all(code != 0 for code in codes), "a lost host ends the job"
    assert end(start(tmp_path, *name, shared=shared)) == [0, 0], said(tmp_path)
    assert end(start(tmp_path, *only, "--name=whole", "--fresh")) == [0, 0]
    two, whole = (read_lines(tmp_path / "results" / name)[0] for name in ("two", "whole"))
    assert two["evaluations"] == whole["evaluations"]
    folders = [next((tmp_path / "runs" / name).glob("sf-*")) for name in ("two", "whole")]
    assert [parts(folder) for folder in folders] == [2 if shared else 0, 2]
    loaded = [arch.load(folder).parameters for folder in folders]  # in one process
    jax.tree.map(np.testing.assert_array_equal, *loaded)


def devices(count: int, each: int) -> list:
    return [SimpleNamespace(process_index=i // each, platform="cpu") for i in range(count)]


def test_a_mesh_that_leaves_a_host_without_work_is_refused():
    with pytest.raises(ConfigurationError, match=r"its 2 of 4 devices leave 1 of 2 hosts without"):
        mesh.check_hosts(mesh.Sizes(data=2), devices(4, each=2), side_by_side=False)
    mesh.check_hosts(mesh.Sizes(data=4), devices(4, each=2), side_by_side=False)
    mesh.check_hosts(mesh.Sizes(data=2), devices(4, each=4), side_by_side=False)
    with pytest.raises(ConfigurationError, match=r"train.mesh.data=4.* a multiple of so many"):
        mesh.make(mesh.Sizes(), 3, side_by_side=True, devices=devices(4, each=1))


def test_what_cannot_join_says_what_to_set(monkeypatch):
    for variable in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match="srun, mpirun.*JAX_COORDINATOR_ADDRESS=HOST:PORT"):
        hosts.join()


def test_several_hosts_are_not_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "join", lambda: None)
    monkeypatch.chdir(tmp_path)
    cli.write_small(tmp_path)
    outcome = cli.run("sweep", "--config=small.py", "--distributed", "--executor=processes")
    assert outcome.code == 2
    assert "--distributed --executor=processes: expected one of them" in outcome.err


def test_alone_everything_is_its_own():
    assert (hosts.count(), hosts.follows(), hosts.told({"a": 1})) == (1, False, {"a": 1})
    assert hosts.agreed(True) and not hosts.agreed(False)
    array = np.array([-0.0, np.nan], np.float32)
    assert hosts.told_arrays({"a": array})["a"] is array
    assert hosts.gathered([1, "a"]) == [[1, "a"]]
