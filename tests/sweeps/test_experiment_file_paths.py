"""Paths with commas, equals signs and colons among the arguments of an experiment file."""

from types import SimpleNamespace

import pytest

from arch.registry import ConfigurationError
from arch.sweeps.experiment_file import ExperimentFile

FILE = ExperimentFile(
    "x.py",
    lambda arg: SimpleNamespace(),
    ARGUMENTS={"scale": ("tiny", "small"), "corpus": "stdlib", "tokenizer": "bytes"},
)


@pytest.mark.parametrize(
    "path", ["file:/a, b/c.txt", "file:/a=b", "file:/comma, and = and ;/a.txt", "file:/a:b,c,d =e"]
)
@pytest.mark.parametrize("around", ["corpus={}", "scale=small,corpus={},tokenizer=words,f=x"])
def test_a_path_may_have_any_characters(path, around):
    read, letters, _ = FILE.read_arguments(around.format(path))
    assert read.corpus == path
    if "scale" in around:
        assert (read.scale, read.tokenizer, letters) == ("small", "words", {"f": "x"})


def test_a_misspelt_argument_behind_a_path_is_no_part_of_it():
    with pytest.raises(ConfigurationError, match="scael=tiny: unknown argument.*'scale'"):
        FILE.read_arguments("corpus=file:/a.txt,scael=tiny")
