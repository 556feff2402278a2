"""Where results say that they come from."""

import subprocess

from arch.runs import provenance


def test_code_that_is_not_committed_is_a_change_and_a_log_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "CODE", tmp_path)

    def git(*words):
        who = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    def dirty():
        return provenance.git.__wrapped__()["dirty"]

    git("init")
    (tmp_path / "code.py").write_text("1\n")
    git("add", "code.py")
    git("commit", "-m", "one")
    assert not dirty()
    (tmp_path / "sweep.log").write_text("step 1\n")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table.md").write_text("|\n")
    assert not dirty()
    (tmp_path / "new.py").write_text("2\n")
    assert dirty()
    (tmp_path / "new.py").unlink()
    (tmp_path / "code.py").write_text("3\n")
    assert dirty()
    assert len(provenance.git.__wrapped__()["revision"]) == 40


def test_without_git_the_revision_is_unknown(monkeypatch):
    def no_git(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(provenance.subprocess, "run", no_git)
    assert provenance.git.__wrapped__() == {"revision": "unknown", "dirty": False}


CPUINFO = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
flags\t\t: fpu sse4_2 avx avx2 avx512f

processor\t: 1
model name\t: another
"""


def test_types_of_processors_of_one_name_are_told_apart():
    named = provenance.processor_in
    assert named(CPUINFO) == "AMD EPYC, family 26 model 2, avx512f"
    assert named(CPUINFO.replace(" avx512f", "")) == "AMD EPYC, family 26 model 2, avx2"
    assert named(CPUINFO.replace(": 26", ": 25")) == "AMD EPYC, family 25 model 2, avx512f"
    assert named("processor\t: 0\nmodel name\t: ARMv8\n") == "ARMv8"
    assert named("processor\t: 0\n") == "" and provenance.processor()
