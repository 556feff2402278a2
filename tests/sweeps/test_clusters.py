"""Cells as the jobs of another system: handed over again where they are lost, each ended once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from arch.devices.hosts import Place
from arch.registry import ConfigurationError
from arch.report.lines import read_lines
from arch.sweeps.executors import cluster, named, orders
from arch.sweeps.executors.cluster import Cluster, Lost
from arch.training.stopping import Interrupted
from tests import cli


def job(name: str) -> SimpleNamespace:
    left = [0]
    return SimpleNamespace(
        cell=SimpleNamespace(name=name),
        left=left,
        unfinished=lambda: list(left),
        folder=SimpleNamespace(state={}, path=Path(name)),
        config=SimpleNamespace(train=SimpleNamespace(steps=10)),
    )


class Fake(Cluster):
    """Each job ends at once, as its cell's script says: 'lost', 'trained', or why it refuses; a job
    that 'waits' ends when it is cancelled."""

    def __init__(self, jobs: Sequence[SimpleNamespace], **scripts: list[str]):
        super().__init__(SimpleNamespace())
        self.jobs = {job.cell.name: job for job in jobs}
        self.scripts, self.started, self.cancelled = scripts, [], []

    def submit(self, orders):
        return [self._handle(path.name) for path in orders]

    def _handle(self, name: str) -> SimpleNamespace:
        self.started.append(name)
        does = self.scripts[name].pop(0)

        def refusal() -> str:
            if does == "lost":
                raise Lost("its machine is gone")
            if does == "trained":
                self.jobs[name].left.clear()
                return ""
            return does

        return SimpleNamespace(
            ended=lambda: does != "waits" or name in self.cancelled,
            refusal=refusal,
            cancel=lambda: self.cancelled.append(name),
        )


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(cluster, "POLL", 0.0)
    monkeypatch.setattr(orders, "write", lambda sweep, job: job.folder.path)


def run(fake: Fake, asked: bool = False) -> dict:
    stop = SimpleNamespace(asked=asked)
    return dict(fake.run(list(fake.jobs.values()), stop, lambda: None))


def test_a_lost_job_is_handed_over_again_and_no_other(capsys):
    fake = Fake([job("a"), job("b")], a=["lost", "lost", "trained"], b=["trained"])
    assert run(fake) == {}
    assert sorted(fake.started) == ["a", "a", "a", "b"]
    assert "cell a: its machine is gone; it is started again" in capsys.readouterr().out


def test_a_job_that_is_lost_every_time_is_one_failed_cell():
    fake = Fake([job("a"), job("b")], a=["lost"] * 5, b=["trained"])
    assert run(fake) == {"a": "its machine is gone"}
    assert fake.started.count("a") == cluster.STARTS


def test_a_worker_that_refuses_is_not_started_again():
    fake = Fake([job("a")], a=["another process is at work on it"])
    assert run(fake) == {"a": "another process is at work on it"}
    assert fake.started == ["a"]


def test_jobs_are_cancelled_where_the_sweep_is_asked_to_stop():
    fake = Fake([job("a"), job("b")], a=["waits"], b=["waits"])
    with pytest.raises(Interrupted):
        run(fake, asked=True)
    assert fake.cancelled == ["a", "b"]


def test_options_follow_the_name():
    name, options = named("slurm:partition=gpu,minutes=60,where=local")
    assert name == "slurm"
    assert (options["partition"], options["minutes"], options["where"]) == ("gpu", 60, "local")
    assert named("local") == ("local", {})
    for text, said in (
        ("slurm:partion=gpu", "did you mean 'partition'"),
        ("slurm:minutes=long", "slurm:minutes='long': expected a whole number"),
        ("ray:auto", "expected ray:option=value"),
        ("local:cores=2", "it takes none"),
        ("slrum", "slurm"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            named(text)


def test_only_devices_where_the_jobs_run_are_asked_for(tmp_path):
    """The machine that hands jobs over may have none of them."""
    cli.write_small(tmp_path)
    wide = ("sweep", "--config=small.py", "--dry-run", "--config.train.mesh.data=4")
    told = cli.run(*wide, cwd=tmp_path)
    assert told.code == 2 and "4 devices are asked for" in told.err
    for executor in ("slurm:hosts=2", "ray:hosts=2"):
        assert cli.run(*wide, f"--executor={executor}", cwd=tmp_path).code == 0
    told = cli.run("sweep", "--config=small.py", "--executor=slurm:hosts=0", cwd=tmp_path)
    assert told.code == 2 and "--executor=slurm.hosts=0: allowed is 1 or more" in told.err


def test_a_missing_package_is_one_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigurationError, match=r"submitit: pip install '\.\[slurm\]'"):
        cluster.needed("submitit", "slurm")


def kill_worker(folder: Path, after: int = 20) -> None:
    """kill -9 to the process that trains in the folder, once it has come so far."""
    for _ in range(3000):
        for path in folder.glob("*/state.json"):
            state = cli.RunFolder(path.parent).state
            if state.get("state") == "running" and state.get("step", 0) >= after:
                os.kill(state["pid"], signal.SIGKILL)
                return
        time.sleep(0.1)
    raise AssertionError(f"nothing trained in {folder}")


def assert_same_results(folder: Path, runs: int = 4) -> None:
    """Of the sweeps 'here' and 'there': each cell and seed once, to the byte."""
    here, there = (
        [(x["cell"], x["seed"], x["hash"], x["evaluations"]) for x in read_lines(folder / name)]
        for name in ("here", "there")
    )
    assert len(there) == runs and here == there


def end(process: subprocess.Popen) -> None:
    out, err = process.communicate()
    assert process.returncode == 0, f"{out}\n{err}"


def sweep(folder: Path, *words: str) -> subprocess.Popen:
    return cli.start("sweep", "--config=small.py", "--config.save.every=10", *words, cwd=folder)


@pytest.mark.slow
def test_slurm_jobs_one_killed_give_what_a_sweep_here_gives(tmp_path):
    pytest.importorskip("submitit", reason="pip install '.[slurm]'")
    cli.write_small(tmp_path)
    end(sweep(tmp_path, "--name=here"))
    started = sweep(tmp_path, "--name=there", "--fresh", "--executor=slurm:where=local")
    kill_worker(tmp_path / "runs" / "there")
    end(started)
    assert_same_results(tmp_path / "results")


SIXTEEN_BY_THREE = (
    ("seeds=(0, 1)", "seeds=(0, 1, 2)"),
    (
        'return [Cell("sf", {"model.order": "sf"}), Cell("fs", {"model.order": "fs"})]',
        'return [Cell(f"r{n}", {"train.optimizer.learning_rate": 1e-3 * n}) for n in range(1, 17)]',
    ),
    ('"baseline": "sf"', '"baseline": "r1"'),
)
TOGETHER = ("--cells=sf", "--seeds=1", "--config.train.mesh.data=2")


def together(folder: Path, executor: str, *names: str) -> list[dict]:
    """The lines of a cell that two hosts train together, once for each name; of the last a process
    is killed in the middle."""
    for name in names:
        started = sweep(folder, *TOGETHER, f"--name={name}", "--fresh", f"--executor={executor}")
        if name == names[-1]:
            kill_worker(folder / "runs" / name)
        end(started)
    return [read_lines(folder / "results" / name)[0] for name in names]


@pytest.mark.slow
def test_a_slurm_job_of_two_hosts_is_one_cell_and_comes_again_where_one_is_killed(tmp_path):
    pytest.importorskip("submitit", reason="pip install '.[slurm]'")
    cli.write_small(tmp_path)
    whole, killed = together(tmp_path, "slurm:where=local,hosts=2", "whole", "killed")
    assert whole["replicas"]["hosts"] == 2 and whole["replicas"]["mesh"] == {"data": 2}
    assert killed["evaluations"] == whole["evaluations"]


@pytest.mark.slow
def test_ray_tasks_of_two_hosts_are_one_cell_and_come_again_where_one_is_killed(tmp_path):
    pytest.importorskip("ray", reason="pip install '.[ray]'")
    cli.write_small(tmp_path)
    whole, killed = together(tmp_path, "ray:hosts=2", "whole", "killed")
    assert whole["replicas"]["hosts"] == 2
    assert killed["evaluations"] == whole["evaluations"]


def test_a_job_of_several_hosts_is_led_by_the_first(monkeypatch, tmp_path):
    joined, trained = [], []
    monkeypatch.setattr(cluster.hosts, "join", joined.append)
    monkeypatch.setattr(cluster, "train", lambda *order: trained.append(order) or "refused")
    monkeypatch.setattr(cluster.following, "follow", lambda: 0)
    monkeypatch.chdir(tmp_path)
    place = Place("node1:20000", 2, 0)
    assert cluster.train_together("order.json", str(tmp_path), place) == "refused"
    assert (joined, trained) == ([place], [("order.json", str(tmp_path))])
    monkeypatch.setattr(cluster.hosts, "follows", lambda: True)
    assert cluster.train_together("order.json", str(tmp_path), place._replace(index=1)) == ""
    assert len(trained) == 1


NODES = """
import sys, threading, time
import ray
from ray.cluster_utils import Cluster

import launch
from arch.sweeps.executors import orders
from tests.sweeps.test_clusters import kill_worker

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
ray.init(cluster.address, runtime_env={"env_vars": orders.environment()})

def lose():
    from pathlib import Path
    while not list(Path("runs/there").glob("*/seed0/metrics.jsonl")):
        time.sleep(0.1)
    for node in nodes[:2]:
        cluster.remove_node(node, allow_graceful=False)

threading.Thread(target=lose, daemon=True).start()
code = launch.main(["sweep", "--config=small.py", "--config.save.every=10", "--name=there",
                    "--fresh", "--executor=ray"])
ray.shutdown()
cluster.shutdown()
sys.exit(code)
"""


@pytest.mark.slow
def test_ray_tasks_go_elsewhere_where_nodes_are_lost(tmp_path):
    pytest.importorskip("ray", reason="pip install '.[ray]'")
    cli.write_small(tmp_path, *SIXTEEN_BY_THREE)
    end(sweep(tmp_path, "--name=here"))
    more = {"PYTHONPATH": str(cli.REPOSITORY), "RAY_worker_niceness": "0"}
    environment = {**os.environ, **more}
    done = subprocess.run([sys.executable, "-c", NODES], cwd=tmp_path, env=environment)
    assert done.returncode == 0
    assert_same_results(tmp_path / "results", 16 * 3)
