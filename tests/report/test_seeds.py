"""Seeds of initialisation and data: as text, on the command line, in folders and lines."""

import pytest

from arch.commands import from_flags
from arch.registry import ConfigurationError
from arch.report.lines import key, merge_lines
from arch.report.seeds import Apart, both, line_seed, read_seed, seed_fields, seed_of
from arch.runs.folders import RunFolder


def test_a_seed_is_a_number_or_two():
    assert seed_of(3, 3) == 3 and seed_of(3, 5) == Apart(3, 5) and str(Apart(3, 5)) == "3x5"
    for seed in (0, 7, Apart(3, 5), Apart(5, 3)):
        assert read_seed(str(seed)) == seed == line_seed(seed_fields(seed))
    assert read_seed("3x3") == 3 and seed_fields(3) == {"seed": 3}
    assert sorted([Apart(1, 0), 1, 0, Apart(0, 2)], key=both) == [0, Apart(0, 2), Apart(1, 0), 1]


@pytest.mark.parametrize("text", ["", "x", "3x", "x3", "-1", "3x-1", "3x5x1", "0.old1"])
def test_another_text_is_none(text):
    with pytest.raises(ValueError, match="expected a seed like 3, or 3x5"):
        read_seed(text)


def test_seeds_are_crossed_on_the_command_line():
    crossed = from_flags._seeds("2x3")
    assert list(map(str, crossed)) == ["0", "0x1", "0x2", "1x0", "1", "1x2"]
    assert from_flags._seeds("100-101x5-5") == (Apart(100, 5), Apart(101, 5))
    assert from_flags._seeds("1,3x0-1") == (Apart(1, 0), 1, Apart(3, 0), Apart(3, 1))
    assert from_flags._seeds("3") == (0, 1, 2) and from_flags._seeds("100-101,7") == (100, 101, 7)


@pytest.mark.parametrize(
    "text", ["x", "3x", "x3", "3x3x3", "0", "1,1", "3x1,1", "5-3", "a", "-3", "200x200", "1-"]
)
def test_what_is_no_seeds_is_refused_in_one_line(text):
    with pytest.raises(ConfigurationError, match=f"^--seeds={text}: expected a count .*3x3: init"):
        from_flags._seeds(text)


def test_each_pair_has_a_line_and_a_folder_of_its_own(tmp_path):
    lines = [
        {"hash": "a", "device": "cpu", "status": "finished", **seed_fields(seed)}
        for seed in (0, Apart(0, 1), 1, Apart(0, 1))
    ]
    assert len(merge_lines([], lines)) == 3
    assert key(lines[0]) == key({**lines[0], "data_seed": 0})  # one that says the same number
    folder = RunFolder(tmp_path)
    for name in ("seed10", "seed2", "seed2x0", "seed2.old1"):
        (tmp_path / name).mkdir()
    assert folder.seeds() == [Apart(2, 0), 2, 10]
    assert folder.seed(Apart(2, 0)).path.name == "seed2x0"
