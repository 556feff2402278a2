"""Whatever is wrong with what one types: exit code 2 and one line that says what to type instead;
nothing compiles, and what is there stays as it is."""

import gzip
import itertools
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from arch.config import flat, identity
from arch.data.corpora import downloads
from arch.runs.checkpoints import Checkpoints
from arch.runs.folders import RunFolder
from arch.sweeps.experiment import Experiment, Results
from arch.training.compiled import Compiled
from arch.training.program import build
from arch.training.state import shapes
from tests import cli


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Path:
    """A folder with the small experiment, its finished first cell, and files that are wrong."""
    folder = cli.write_small(tmp_path_factory.mktemp("ground"))
    done = cli.run("sweep", "--config=small.py", "--cells=sf", cwd=folder)
    assert done.code == 0, done.err
    small = (folder / "small.py").read_text()
    for name, content in {
        "empty.txt": "",
        "short.txt": "ten words " * 3,
        "latin.txt": b"caf\xe9 " * 400,
        "cut.txt.gz": gzip.compress(cli.text().encode())[:-20],
        "notes.md": "# not Python",
        "syntax.py": "def get_config(arg)\n    return 1\n",
        "without.py": "ARGUMENTS = {}\n",
        "cells.py": "def get_config(arg):\n    return 1\n\n\ncells = 3\n",
        "fails.py": small.replace("return config.make(", "arg.widht\n    return config.make("),
        "locked.py": small.replace("return config.make(", "made = config.make(").replace(
            "def cells", "    made.train.stpes = 3\n    return made\n\n\ndef cells"
        ),
        "returns.py": "def get_config(arg):\n    return {}\n",
        "field.py": small.replace('"steps": 80', '"stpes": 80'),
        "section.py": small.replace("train=", "trian="),
        "cell.py": small.replace('"model.order": "fs"', '"model.ordr": "fs"'),
        "twice.py": small.replace('Cell("fs"', 'Cell("sf"'),
        "named.py": small.replace('Cell("fs"', 'Cell("f/s"'),
        "seeds.py": small.replace("seeds=(0, 1)", "seeds=(1, 1)"),
        "table.py": small.replace('"baseline"', '"basline"'),
        "plugged.py": small.replace("seeds=(0, 1)", "plugins=('broken.py',)"),
        "broken.py": "import arch\n\narch.registry.sublayer\n",
        "again.py": (
            "from arch.registry import sublayers\n\n\n"
            "@sublayers.register('attention')\nclass Mine:\n    pass\n"
        ),
    }.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "corpus").mkdir()
    (folder / "corpus/train.txt").write_text(cli.text())
    return folder


@pytest.fixture
def idle(monkeypatch):
    """Nothing compiles a program."""

    def refuse(self, name, *_, **__):
        raise AssertionError(f"the program {name} was called")

    monkeypatch.setattr(Compiled, "call", refuse)


def refused(ground: Path, *argv: str) -> str:
    """The one line on stderr; no file of a run or result has changed."""
    before = cli.files(ground / "runs", ground / "results")
    outcome = cli.run(*argv, cwd=ground)
    after = cli.files(ground / "runs", ground / "results")
    assert {path: after.get(path) for path in before} == before
    assert outcome.code == 2, outcome
    lines = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    return lines[0]


class Bad(NamedTuple):
    """A command line, and what its error must say."""

    what: str
    argv: tuple[str, ...]
    says: tuple[str, ...]


def small(what: str, change: str, *says: str) -> Bad:
    """The small experiment with one field changed."""
    return Bad(what, ("sweep", "--config=small.py", f"--config.{change}"), says)


def sweep(what: str, argument: str, *says: str) -> Bad:
    return Bad(what, ("sweep", *argument.split()), says)


S = "model.sublayers.s"
BAD = [
    # flags and commands
    Bad("no command", (), ("expected a command", "sweep")),
    Bad("misspelt command", ("swepe",), ("'swepe' is no command", "did you mean 'sweep'?")),
    Bad("misspelt flag of the whole", ("--verson",), ("did you mean '--version'?",)),
    sweep("misspelt flag", "--config=small.py --sedes=3", "--sedes", "did you mean '--seeds'?"),
    sweep("flag before the needed one", "--confg=small.py", "--confg", "did you mean '--config'?"),
    sweep("no configuration", "--name=x", "required: --config"),
    sweep("a word too many", "--config=small.py sf", "'sf' belongs to no flag"),
    sweep("a file without its flag", "small.py", "did you mean --config=small.py?"),
    sweep("a value apart", "--config=small.py --config.train.steps 5",
          "--config.train.steps: expected a value", "--config.train.steps=value"),
    Bad("configuration where none is taken", ("status", "--name=small", "--config.a=1"),
        ("--config.a=1", "status takes no configuration")),
    sweep("seeds that are none", "--config=small.py --seeds=three", "--seeds=three", "a count (5)",
          "100-104"),
    sweep("a seed twice", "--config=small.py --seeds=1,1", "--seeds=1,1", "each seed once"),
    sweep("an empty range of seeds", "--config=small.py --seeds=5-3", "--seeds=5-3"),
    sweep("seeds beyond 32 bits", "--config=small.py --seeds=4294967296-4294967297",
          "--seeds=4294967296", "below 2147483648"),
    sweep("a seed of 32 bits", "--config=small.py --seeds=1,2147483648", "below 2147483648"),
    *(Bad(f"a seed of 32 bits in the configuration of {name}",
          (*name.split(), "--config=small.py", "--config.seeds=2147483648"),
          ("--config.seeds=(2147483648,): expected whole numbers from 0 to 2147483647",))
      for name in ("describe", "sweep", "sweep --dry-run", "run --cell=sf", "prepare", "bench")),
    sweep("replicas that are no number", "--config=small.py --replicas=few", "--replicas='few'",
          "auto"),
    sweep("cells that are not there", "--config=small.py --cells=k*", "--cells=k*", "sf, fs"),
    Bad("a cell that is not there", ("run", "--config=small.py", "--cell=fss"),
        ("--cell=fss", "sf, fs", "did you mean 'fs'?")),
    sweep("rerun of what is not there", "--config=small.py --rerun=k9", "--rerun=k9", "sf, fs"),
    sweep("an unknown executor", "--config=small.py --executor=proceses", "--executor='proceses'",
          "local, processes", "did you mean 'processes'?"),
    sweep("an experiment whose cells are no function", "--config=cells.py",
          "--config=cells.py: cells=3: expected a function"),
    Bad("a flag where none is taken", ("list", "--cells=x"), ("--cells", "there are --json")),
    sweep("a name that is a path", "--config=small.py --name=../x", "--name=../x",
          "a plain folder name"),
    # the experiment's file
    sweep("missing file", "--config=smal.py",
          "--config=smal.py: no such file; did you mean 'small.py'?"),
    sweep("not Python", "--config=notes.md", "--config=notes.md: expected a Python file (.py)"),
    sweep("syntax error", "--config=syntax.py", "--config=syntax.py", "SyntaxError", "line 1"),
    sweep("no get_config", "--config=without.py", "--config=without.py: it has no get_config(arg)"),
    sweep("get_config fails", "--config=fails.py", "fails.py: get_config, line 10", "'widht'"),
    sweep("get_config returns something else", "--config=returns.py",
          "returns no ConfigDict; use config.make"),
    sweep("unknown field set in the file", "--config=locked.py", "locked.py: get_config, line",
          'Did you mean "steps" instead of "stpes"?'),
    sweep("unknown field in the file", "--config=field.py", "field.py: get_config: train.stpes",
          "unknown option", "did you mean 'steps'?"),
    sweep("unknown section in the file", "--config=section.py", "trian", "did you mean 'train'?"),
    sweep("unknown field in a cell", "--config=cell.py", "cell.py: cell fs: model.ordr",
          "did you mean 'order'?"),
    sweep("one name for two cells", "--config=twice.py", "a cell's name stands twice", "sf"),
    sweep("a cell's name that is no folder's", "--config=named.py", "cell 'f/s'",
          "letters, digits and"),
    sweep("one seed twice in the file", "--config=seeds.py", "seeds=(1, 1): a seed stands twice"),
    sweep("unknown field of the table", "--config=table.py", "table.py: TABLE", "'basline'",
          "baseline"),
    sweep("unknown argument", "--config=small.py:scael=tiny", "scael=tiny: unknown argument",
          "scale, corpus", "did you mean 'scale'?"),
    sweep("unknown scale", "--config=small.py:scale=huge", "scale=huge: allowed are tiny, small"),
    sweep("argument without a value", "--config=small.py:tiny", "'tiny' is no name=value"),
    sweep("letter bound to an unknown kind", "--config=small.py:s=attenton", f"{S}.kind='attenton'",
          "known are attention", "did you mean 'attention'?"),
    sweep("letter bound that no cell has", "--config=small.py:z=attention", "z=attention",
          "no cell has 'z'", "fs, sf"),
    # fields
    small("unknown field", "model.widht=16", "--config.model.widht: no such field", "width",
          "did you mean 'width'?"),
    small("unknown section", "modle.width=16", "--config.modle.width: no section 'modle'",
          "did you mean 'model'?"),
    small("section for a field", "train=5", "--config.train: a section, not a field", "steps"),
    small("unknown option of a kind", f"{S}.haeds=2", f"--config.{S}.haeds", "kv_heads",
          "did you mean 'heads'?"),
    small("unknown kind", f"{S}.kind=atention", f"{S}.kind='atention': unknown sublayer kind",
          "feed_forward", "did you mean 'attention'?"),
    small("unknown stack", "model.stack.kind=parallel", "model.stack.kind='parallel'",
          "sequential"),
    small("unknown task", "task.kind=translatoin", "task.kind='translatoin'", "language_model"),
    small("unknown optimizer", "train.optimizer.name=adam", "train.optimizer.name='adam'",
          "known are adafactor, adamw"),
    small("text for a number", "train.steps=many",
          "train.steps='many': expected a whole number, for example 80"),
    small("fraction for a whole number", "train.steps=1.5",
          "train.steps=1.5: expected a whole number"),
    small("bool for a whole number", "train.batch=true",
          "train.batch=True: expected a whole number"),
    small("number for a bool", "model.stack.final_norm=1", "final_norm=1: expected true or false"),
    small("negative steps", "train.steps=-5", "train.steps=-5: allowed is 1 or more"),
    small("no batch", "train.batch=0", "train.batch=0: allowed is 1 or more"),
    small("batch that is not divided", "train.accumulate=3",
          "train.accumulate=3 does not divide train.batch=4"),
    small("dropout above 1", "model.dropout=1.5", "model.dropout=1.5: allowed is 0 to below 1"),
    small("unknown norm placement", "model.stack.norm=before",
          "norm='before': allowed are pre, post, peri, none"),
    small("unknown kind of norm", "model.stack.norm_kind=batch",
          "norm_kind='batch': allowed are layer, rms"),
    small("unknown way to apply", "model.stack.apply=unroled",
          "apply='unroled': allowed are auto, unrolled"),
    small("sharing of a letter that is not there", "model.stack.share=z", "share='z'",
          "letter 'z' is not in the order"),
    small("unknown positions", "model.embedding.positions=sinus",
          "positions='sinus': allowed are sinusoidal"),
    small("unknown activation", "model.sublayers.f.activation=rellu", "activation='rellu'",
          "relu, gelu"),
    small("heads that do not divide", f"{S}.heads=3", f"{S}: heads=3 does not divide width=16",
          "2, 4"),
    small("key heads that do not divide", f"{S}.kv_heads=4", "kv_heads=4 does not divide heads=2"),
    small("negative learning rate", "train.optimizer.learning_rate=-1e-3",
          "learning_rate=-0.001: allowed is above 0"),
    small("unknown schedule", "train.optimizer.schedule=cosin",
          "schedule='cosin': allowed are constant, cosine"),
    small("warm-up beyond the end", "train.optimizer.warmup_steps=81",
          "warmup_steps=81: allowed is 0 to train.steps=80"),
    small("one checkpoint", "save.keep=1", "save.keep=1: allowed is 2 or more"),
    small("stride beyond the window", "evaluate.stride=32", "evaluate.stride=32", "16"),
    small("unknown split", "evaluate.splits=dev", "evaluate.splits='dev': allowed are valid, test"),
    small("positions that end", "model.embedding.positions=learned --config.evaluate.window=32",
          "evaluate.window=32: learned positions end at task.length=16"),
    small("axial positions that end",
          "model.embedding.positions=axial --config.evaluate.window=32",
          "evaluate.window=32: axial positions end at 16, the product of",
          "model.embedding.axial_shape=(4, 4)"),
    small("a grid that is too small",
          "model.embedding.positions=axial --config.model.embedding.axial_shape=3,5",
          "model.embedding.axial_shape=(3, 5): 15 positions", "16, the longest sequence, or more"),
    small("a field the cells vary", "model.order=sf",
          "--config.model.order=sf: the cells of small.py vary this field"),
    small("option of a letter that is not there", "model.sublayers.z.heads=2",
          "letter 'z' is not in the order 'sf'", "FILE:z=kind"),
    small("seeds that are none", "seeds=0,x", "seeds='x'", "a whole number"),
    small("negative seed", "seeds=-1", "seeds=(-1,)"),
    # orders: of get_config alone, since the cells vary it
    *(
        Bad(what, ("run", "--config=small.py", f"--config.model.order={order}"), says)
        for what, order, says in [
            ("unclosed bracket", "s2(sf", ("order 's2(sf': bracket at 3 is never closed",)),
            ("stray character", "s;f", ("order 's;f'", "character ';' at 2")),
            ("no letter at all", "", ("order ''",)),
            ("count of zero", "s0f", ("order 's0f': count at 2 is zero",)),
            ("letter without a binding", "sfm",
             ("model.order='sfm'", "letter 'm' has no binding", "FILE:m=kind")),
        ]
    ),
    # corpora and tokenizers
    small("unknown corpus", "task.corpus=stdlb", "task.corpus='stdlb'", "did you mean 'stdlib'?",
          "file:PATH"),
    small("a path without file:", "task.corpus=corpus.txt", "did you mean 'file:corpus.txt'?"),
    small("missing corpus", "task.corpus=file:gone.txt", "gone.txt: no such file or directory"),
    small("empty corpus", "task.corpus=file:empty.txt", "empty.txt: the file is empty"),
    small("corpus of one window", "task.corpus=file:short.txt --config.task.length=64",
          "task.length=64: the train split of 'file:short.txt' has", "65 are needed"),
    small("corpus that is no text", "task.corpus=file:latin.txt", "latin.txt: not UTF-8 text"),
    small("corpus cut short", "task.corpus=file:cut.txt.gz", "cut.txt.gz: cannot be read", "end"),
    small("no validation split", "task.corpus=file:corpus", "no valid file", "valid.txt"),
    small("malformed tokenizer", "task.tokenizer=bpe:12", "task.tokenizer='bpe:12'",
          "bpe:N (N entries, at least 256)"),
    small("vocabulary below the tokenizer's", "task.vocabulary=100", "task.vocabulary=100",
          "has 256 tokens"),
    small("no length", "task.length=0", "task.length=0: allowed is 1 or more"),
    # plugins
    small("missing plugin", "plugins=gla.py", "plugins='gla.py': no such file"),
    small("plugin with an error", "plugins=broken.py",
          "plugins='broken.py', line 3: AttributeError", "sublayer"),
    sweep("plugin with an error, named by the file", "--config=plugged.py",
          "plugins='broken.py', line 3"),
    small("plugin of a kind that is there", "plugins=again.py",
          "sublayer 'attention' is registered already", "choose another name"),
    # runs and results
    Bad("run of a folder that is none", ("evaluate", "--run=small.py"),
        ("small.py: no run is here",)),
    Bad("run of a folder of runs", ("verify", "--run=runs/small"),
        ("runs/small: no run is here", "it has sf-")),
    Bad("status of an unknown name", ("status", "--name=smal"),
        ("--name=smal", "did you mean 'small'?")),
    Bad("report of an unknown name", ("report", "--name=smal"),
        ("--name=smal", "did you mean 'small'?")),
    Bad("report against an unknown name", ("report", "--name=small", "--against=big"),
        ("--against=big", "small")),
    Bad("report in an unknown format", ("report", "--name=small", "--format=md,pdf"),
        ("--format=md,pdf", "'pdf'", "md, csv, svg, html, latex")),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=[bad.what for bad in BAD])
def test_one_line_says_what_is_wrong(ground, idle, bad):
    line = refused(ground, *(word for text in bad.argv for word in text.split(" ")))
    missing = [text for text in bad.says if text not in line]
    assert not missing, line


def test_every_field_with_any_value_is_taken_or_refused_in_one_line(ground, idle, monkeypatch):
    monkeypatch.chdir(ground)
    fields = flat(Experiment("small.py").config().to_dict())
    fields.pop("model.order")  # the cells vary it
    taken, values = 0, itertools.cycle(("-1", "0", "nonsense", "1.5", "-1"))
    for field in fields:
        for value in itertools.islice(values, 2):  # each field other ones
            change = f"--config.{field}={value}"
            told = cli.run("sweep", "--config=small.py", "--cells=sf", "--dry-run", change)
            taken += told.code == 0
            if told.code:
                assert told.code == 2, (change, told)
                assert field.split(".")[-1] in told.err and len(told.err.splitlines()) == 1, told
    assert 0 < taken < len(fields)


def test_whole_numbers_may_be_written_with_an_exponent(ground, idle):
    change = "--config.train.steps=8e1"  # from 1,000 on a dry run times two
    told = cli.run("sweep", "--config=small.py", "--dry-run", change, cwd=ground)
    assert told.code == 0, told.err


def test_a_download_that_breaks_off_says_what_is_kept_and_where_to_put_the_file(
    ground, idle, monkeypatch
):
    def broken(url, path, **_):
        raise downloads.DownloadError(f"{url}: the transfer broke off at 10 of 20 bytes")

    monkeypatch.setattr(downloads, "fetch", broken)
    monkeypatch.delenv("ARCH_DATA_DIR", raising=False)
    line = refused(ground, "prepare", "--config=small.py", "--config.task.corpus=enwik8")
    for text in ("enwik8", "broke off at 10 of 20 bytes", "ARCH_DATA_DIR/enwik8"):
        assert text in line


@pytest.mark.parametrize("folder", ["runs", "results"])
def test_a_folder_that_cannot_be_written_is_named(ground, idle, tmp_path, folder):
    for name in ("small.py", "corpus.txt"):
        shutil.copy(ground / name, tmp_path)
    (tmp_path / folder).write_text("a file is in the way")
    told = cli.run("sweep", "--config=small.py", cwd=tmp_path)
    assert told.code == 2
    (line,) = told.err.splitlines()
    assert f"{folder}/small" in line and "cannot be written" in line
    assert (tmp_path / folder).read_text() == "a file is in the way"


def test_a_disk_that_is_full_is_told_before_anything_is_trained(ground, idle, monkeypatch):
    free = shutil.disk_usage(ground)._replace(free=2**19)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    line = refused(ground, "sweep", "--config=small.py", "--config.model.width=64")
    for text in ("runs/small", "MiB", "0.5 MiB are free", "--config.save.keep"):
        assert text in line


def test_windows_and_strides_that_are_none_are_refused(ground, idle):
    run = cli.folder_of(ground / "runs/small", "sf").path
    line = refused(ground, "evaluate", f"--run={run}", "--stride=17")
    assert "evaluate.stride=17: allowed is 1 to the window, 16" in line
    line = refused(ground, "evaluate", f"--run={run}", "--window=-4")
    assert "evaluate.window=-4: allowed is 0 or more" in line


def test_positions_that_were_not_learned_are_not_evaluated(ground, idle, tmp_path, monkeypatch):
    monkeypatch.chdir(ground)
    experiment = Experiment("small.py", {"model.embedding.positions": "learned"})
    (sf, _) = experiment.cells(Results([], "perplexity", "valid"))
    made = experiment.config(sf)
    task, model = build(made)
    folder = RunFolder(tmp_path)
    folder.create(made, identity(made, task.dataset.sha256), "sf")
    checkpoints = Checkpoints(folder.seed(0).checkpoints)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes(made, model))
    checkpoints.save(1, state, {})
    checkpoints.wait()
    checkpoints.close()
    line = refused(ground, "evaluate", f"--run={tmp_path}", "--window=32")
    assert "evaluate.window=32: learned positions end at task.length=16" in line
