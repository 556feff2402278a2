"""What a disk, a machine or a colleague may do to a sweep, twenty times each at random places.

    pytest -m slow tests/sweeps/test_faults.py -s      ends with: fault | tried | noticed | lost

Noticed: it was said or refused; what is not noticed changed nothing. Lost: the sweep, said again
afterwards, did not come to the bytes of one that was never disturbed.
"""

import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from arch.data.corpora import downloads
from arch.report.lines import read_lines
from arch.runs import folders, locks, provenance
from arch.sweeps import machine
from tests import cli
from tests.faults import SWEEP, Try, can_mount, mount, unmount
from tests.runs.test_locks import alive

TRIES = 20

pytestmark = [
    pytest.mark.slow,
    # orbax leaves coroutines, threads and files behind where the disk refuses
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = cli.write_small(tmp_path_factory.mktemp("undisturbed"))
    done = cli.run(*SWEEP, cwd=folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def table() -> Iterator[dict[str, list[int]]]:
    """Fault → how often tried, noticed, lost; printed at the end."""
    found: dict[str, list[int]] = {}
    yield found
    print("\n\n| fault | tried | noticed | lost |\n|---|--:|--:|--:|")
    for name, counts in found.items():
        print(f"| {name} | {' | '.join(map(str, counts))} |")


def results(folder: Path) -> list[tuple]:
    lines = read_lines(folder / "results/small")
    return [(line["cell"], line["seed"], line["status"], line["evaluations"]) for line in lines]


def anew(one: Try) -> None:
    for part in ("runs", "results"):
        shutil.rmtree(one.folder / part)


# Faults: each disturbs a finished sweep or one of its own, and returns whether that was noticed


def a_bit_of_a_checkpoint(one: Try) -> bool:
    one.stop_before_end()
    one.harm(list((one.run.seed(1).checkpoints / str(cli.STEPS)).rglob("*")))
    return "is damaged" in one.sweep().err


def a_checkpoints_file_cut_short(one: Try) -> bool:
    one.stop_before_end()
    one.harm(list((one.run.seed(1).checkpoints / str(cli.STEPS)).rglob("*")), cut=True)
    return "is damaged" in one.sweep().err


def tokens(one: Try, files: str) -> list[Path]:
    corpus = read_lines(one.folder / "results/small")[0]["corpus"]["sha256"]
    return list((downloads.cache_directory() / "tokens").glob(f"{corpus[:32]}-*/{files}"))


def a_bit_of_the_tokens_in_the_cache(one: Try) -> bool:
    one.stop_before_end(whole_checkpoints=False)
    one.harm(tokens(one, "*.npy"))
    return "made again from the text" in one.sweep().err


def a_bit_of_the_tokenizer_in_the_cache(one: Try) -> bool:
    one.stop_before_end(whole_checkpoints=False)
    one.harm(tokens(one, "entry.json"))
    return "made again from the text" in one.sweep().err


def a_bit_of_a_summary(one: Try) -> bool:
    one.harm([one.run.seed(seed).path / "summary.json" for seed in (0, 1)])
    return "summary.json was changed" in one.sweep().err


def a_bit_of_a_line_of_results(one: Try) -> bool:
    one.harm([one.folder / "results/small/runs.jsonl"])
    return "is left out" in one.sweep().err


def results_cut_short(one: Try) -> bool:
    one.harm([one.folder / "results/small/runs.jsonl"], cut=True)
    return "is left out" in one.sweep().err


def a_full_disk_in_a_save(one: Try) -> bool:
    anew(one)
    runs = one.folder / "runs"
    runs.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m", "none", str(runs))

    def fill():
        left = one.source.randrange(1 << 17)
        (runs / "filler").write_bytes(bytes(shutil.disk_usage(runs).free - left))

    one.before_a_save(fill)
    try:
        told = one.sweep()
        (runs / "filler").unlink()
        cli.copy(runs, one.folder / "saved")
    finally:
        unmount(runs)
    runs.rmdir()
    (one.folder / "saved").rename(runs)
    return told.code != 0 and "No space left on device" in told.err


def a_folder_that_becomes_read_only(one: Try) -> bool:
    anew(one)
    runs = one.folder / "runs"
    runs.mkdir()

    def forbid():
        mount("--bind", str(runs), str(runs))
        mount("-o", "remount,bind,ro", str(runs))

    one.before_a_save(forbid)
    try:
        told = one.sweep()
    finally:
        unmount(runs)
    return told.code != 0 and "Read-only file system" in told.err


def a_clock_that_jumps(one: Try) -> bool:
    one.stop_before_end(whole_checkpoints=False)
    clock = time.time
    one.patch.setattr(time, "time", lambda: clock() + one.source.uniform(-1e8, 1e8))
    one.patch.setattr(folders, "now", lambda: f"{one.source.randrange(1970, 2100)}-01-01T00:00:00")
    assert one.sweep().code == 0
    return False  # there is nothing to say


def two_machines_in_one_folder(one: Try) -> bool:
    one.stop_before_end(whole_checkpoints=False)
    one.patch.setattr(locks, "BEAT", 0.02)
    one.patch.setattr(locks, "PATIENCE", 1.0)
    before = cli.files(*(one.run.seed(seed).path for seed in (0, 1)))
    with alive(one.run.path):
        assert one.sweep().code == 2
        assert cli.files(*(one.run.seed(seed).path for seed in (0, 1))) == before
    return "taken over from process 7 of elsewhere" in one.sweep().err


def asked_to_stop_twice(one: Try) -> bool:
    anew(one)
    process = cli.start(*SWEEP, cwd=one.folder)
    at = one.source.randrange(10, cli.STEPS)
    cli.until(lambda: cli.progress(one.folder / "runs/small") >= at, process)
    for wait in (0.05, 0.2):
        time.sleep(one.source.uniform(0, wait))
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    return process.returncode == 130 and "To go on" in err


def killed_where_a_file_is_put_in_place(one: Try) -> bool:
    anew(one)
    done = subprocess.run(
        [sys.executable, "-m", "tests.deaths", str(one.source.randrange(200)), *SWEEP],
        cwd=one.folder,
        env={**cli.environment(), "PYTHONPATH": str(cli.REPOSITORY)},
        capture_output=True,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def another_machine(one: Try) -> bool:
    one.stop_before_end(whole_checkpoints=False)
    here, versions = machine.device(), provenance.versions()
    change = one.source.choice(["cores", "device_name", "jax"])
    if change == "jax":
        one.patch.setattr(provenance, "versions", lambda: {**versions, "jax": "99"})
    else:
        one.patch.setattr(machine, "device", lambda: {**here, change: 99})
    refused, told = one.sweep("--strict"), one.sweep()
    kept = [line for line in read_lines(one.folder / "results/small") if "moved_from" in line]
    return refused.code == 2 and "on another machine" in told.err and len(kept) == 1


def python_from_elsewhere(one: Try) -> bool:
    foreign = cli.copy(one.run.path, one.folder / "foreign")
    content = json.loads((foreign / "config.json").read_text())
    content["config"]["plugins"] = [one.source.choice(["a.py", "foreign/plugins/a.py"])]
    (foreign / "config.json").write_text(json.dumps(content))
    (foreign / "plugins").mkdir()
    (foreign / "plugins/a.py").write_text("raise SystemExit('imported')")
    command = one.source.choice([["evaluate"], ["verify"], ["generate", "--prompt=a"]])
    told = cli.run(*command, f"--run={foreign}", cwd=one.folder)
    return told.code == 2 and "brings Python along" in told.err


FAULTS = (
    a_bit_of_a_checkpoint, a_checkpoints_file_cut_short, a_bit_of_the_tokens_in_the_cache,
    a_bit_of_the_tokenizer_in_the_cache, a_bit_of_a_summary, a_bit_of_a_line_of_results,
    results_cut_short, a_full_disk_in_a_save, a_folder_that_becomes_read_only, a_clock_that_jumps,
    two_machines_in_one_folder, asked_to_stop_twice, killed_where_a_file_is_put_in_place,
    another_machine, python_from_elsewhere,
)  # fmt: skip
MOUNTING = (a_full_disk_in_a_save, a_folder_that_becomes_read_only)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nothing_is_lost(fault, undisturbed, table, tmp_path, caplog):
    if fault in MOUNTING and not can_mount(tmp_path):
        pytest.skip("it takes root and a kernel that lets it mount a tmpfs")
    counts = table.setdefault(fault.__name__.replace("_", " "), [0, 0, 0])
    expected = cli.everything(undisturbed / "runs/small"), results(undisturbed)
    lost = []
    for at in range(TRIES):
        folder = cli.copy(undisturbed, tmp_path / str(at))
        source = random.Random(f"{fault.__name__} {at}")
        with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
            noticed = fault(Try(folder, source, patch, caplog))
        done = cli.run(*SWEEP, cwd=folder)
        same = (cli.everything(folder / "runs/small"), results(folder)) == expected
        if done.code or not same:
            lost.append((at, done.code, done.err))
        counts[:] = counts[0] + 1, counts[1] + noticed, len(lost)
        shutil.rmtree(folder)
    assert lost == []
