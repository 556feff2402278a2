"""Kneser-Ney beside a slow transcription of its equations, and as a cell of an experiment."""

import json
import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from arch.baselines import n_grams
from arch.baselines.kneser_ney import KneserNey
from tests import cli

END = 1


def slow(ids, order, vocabulary, end):
    """(probability of a token behind a history, discounts), from dictionaries of tuples."""
    lines = [[]] if end < 0 else [[end]]
    for token in ids:
        lines[-1].append(token)
        if token == end:
            lines.append([end])
    counts, left = [Counter() for _ in range(order + 1)], defaultdict(set)
    for line in lines:
        for stop in range(1 if end < 0 else 2, len(line) + 1):
            for k in range(1, min(order, stop) + 1):
                gram = tuple(line[stop - k : stop])
                counts[k][gram] += 1
                if stop > k:
                    left[gram].add(line[stop - k - 1])
    for k in range(1, order):
        for gram in counts[k]:
            if gram in left and not (k > 1 and gram[0] == end):
                counts[k][gram] = len(left[gram])
    rates, followers = [], defaultdict(dict)
    for k in range(1, order + 1):
        n = Counter(counts[k].values())
        rate = [0.5, 1.0, 1.5]
        if n[1] and n[2] and n[3]:
            y = n[1] / (n[1] + 2 * n[2])
            own = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
            rate = own if all(0 <= d <= j for j, d in zip((1, 2, 3), own, strict=True)) else rate
        rates.append(rate)
        for gram, c in counts[k].items():
            followers[gram[:-1]][gram[-1]] = c

    def p(token, history):
        lower = p(token, history[1:]) if history else 1 / vocabulary
        if history not in followers:
            return lower
        those, rate = followers[history], rates[len(history)]
        off = {w: rate[min(c, 3) - 1] for w, c in those.items()}
        total = sum(those.values())
        own = max(those[token] - off[token], 0) if token in those else 0
        return (own + sum(off.values()) * lower) / total

    return p, rates


@pytest.mark.parametrize("end", [END, -1])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_it_is_the_transcription(order, end):
    random = np.random.default_rng(order)
    ids = np.minimum(random.geometric(0.35, 600), 9)
    vocabulary = 12  # of which training lacks 0, 10 and 11
    model = KneserNey(ids, order, vocabulary, end)
    p, rates = slow(ids.tolist(), order, vocabulary, end)
    np.testing.assert_allclose(model.discounts, rates)
    test = random.integers(0, vocabulary, 200)
    test[50] = test[51] = END  # a line without words
    history, wanted = [END] * (end >= 0), []
    for token in test.tolist():
        wanted.append(p(token, tuple(history[max(0, len(history) - order + 1) :])))
        history = [END] if token == end else [*history, token]
    np.testing.assert_allclose(np.exp(model.log_probabilities(test)), wanted, rtol=1e-12)


@pytest.mark.parametrize("end", [END, -1])
def test_probabilities_sum_to_one(end):
    random = np.random.default_rng(3)
    model = KneserNey(np.minimum(random.geometric(0.3, 400), 9), 4, 12, end)
    for context in ([], [END], [5, 4], [2, 2, 3], [11, 10, 0], [3, END, 2]):
        each = [model.log_probabilities(np.array([*context, w]))[-1] for w in range(12)]
        assert np.exp(each).sum() == pytest.approx(1, abs=1e-12)


def test_discounts_are_chen_and_goodmans_or_those_that_stand_for_them():
    counts = np.repeat([1, 2, 3, 4, 5, 9], [8, 4, 2, 1, 3, 1])
    y = 8 / 16
    expected = [1 - 2 * y * 4 / 8, 2 - 3 * y * 2 / 4, 3 - 4 * y * 1 / 2]
    found, own = n_grams.discounts(counts)
    assert own and found.tolist() == expected
    assert n_grams.discounts(np.array([7, 8])) == (pytest.approx([0.5, 1, 1.5]), False)


def test_a_stream_shorter_than_the_order():
    model = KneserNey(np.array([2, 3]), 5, 4, -1)
    assert np.isfinite(model.log_probabilities(np.array([2, 3, 3, 0]))).all()


def test_it_is_a_cell_with_the_lines_of_a_run(tmp_path):
    counted = 'Cell("kn", {"baseline.kind": "kneser_ney", "baseline.n": 3}, variant="kneser_ney")'
    cli.write_small(tmp_path, ('Cell("sf"', f'{counted}, Cell("sf"'))
    done = cli.run("sweep", "--config=small.py", "--cells=kn", cwd=tmp_path)
    assert done.code == 0, done.err
    lines = [
        json.loads(x) for x in (tmp_path / "results/small/runs.jsonl").read_text().split("\n")[:-1]
    ]
    assert [line["seed"] for line in lines] == [0, 1]
    for line in lines:
        figures = line["evaluations"]["valid"]
        assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
        assert (figures["window"], figures["stride"]) == (2, 1) and figures["bits_per_byte"] > 0
        assert line["parameters"]["unique"] == 0 and len(line["n_grams"]["discounts"]) == 3
    assert "| kn " in (tmp_path / "results/small/table.md").read_text()
    assert cli.run("report", "--name=small", cwd=tmp_path).code == 0
    assert cli.run("describe", "--config=small.py", cwd=tmp_path).code == 0
    refused = cli.run("bench", "--config=small.py", "--cells=kn", cwd=tmp_path)
    assert refused.code == 2 and "baseline.kind='kneser_ney'" in refused.err


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--config.baseline.kind=kneserney", "allowed are none, kneser_ney"),
        ("--config.baseline.n=0", "baseline.n=0"),
    ],
)
def test_what_cannot_be_counted_is_refused(tmp_path, flag, said):
    cli.write_small(tmp_path)
    done = cli.run("describe", "--config=small.py", flag, cwd=tmp_path)
    assert done.code == 2 and said in done.err
