"""Lan et al. 2019 (ALBERT, arXiv 1909.11942): printed figures, and pre-training at four scales.

A downstream average is over SQuAD 1.1 and 2.0, MNLI, SST-2 and RACE. What we measure is intrinsic:
perplexity and accuracy on hidden tokens, and the accuracy of the sentence head; the two columns
can be compared by rank alone.

Besides the corpus, the paper scale differs from the paper in two things. Spans of up to three are
of tokens here, of whole words there. And models of all depths and widths are trained from the
start; in Tables 11 and 12 a deeper model of the paper goes on from the next shallower one.
"""

from arch import config, variants
from arch.report import statistics
from arch.report.claims import Untested
from arch.report.sections import Mean, means_by_cell

# The letters that one owner has for the whole depth, by the paper's names.
SHARING = {"all": "sf", "attention": "s", "ffn": "f", "none": ""}

# Table 1: millions of parameters; heads are width / 64.
SIZES = {
    "bert-base": 108,
    "bert-large": 334,
    "albert-base": 12,
    "albert-large": 18,
    "albert-xlarge": 60,
    "albert-xxlarge": 235,
}
# Tables 3 and 4, base: (sharing, embedding size) → (millions of parameters, downstream average).
# The embedding size is a part of the width, 768.
WIDTH = 768
BASE = {
    ("none", 64): (87, 81.3),
    ("none", 128): (89, 81.7),
    ("none", 256): (93, 81.8),
    ("none", 768): (108, 82.3),
    ("all", 64): (10, 79.0),
    ("all", 128): (12, 80.1),
    ("all", 256): (16, 79.6),
    ("all", 768): (31, 79.8),
    ("attention", 768): (83, 81.6),
    ("ffn", 768): (57, 79.5),
    ("attention", 128): (64, 81.7),
    ("ffn", 128): (38, 80.2),
}
# In Table 4 the row (none, 128) says 81.6 and not Table 3's 81.7.
TABLE4_NONE_128 = 81.6
# Table 5: trained with → accuracy in % on hidden tokens, next sentence, sentence order; average.
SENTENCE = {
    "none": (54.9, 52.4, 53.3, 79.0),
    "next": (54.5, 90.5, 52.0, 79.2),
    "order": (54.0, 78.9, 86.5, 80.1),
}
# Tables 11 (large, width 1024) and 12 (three layers): layers or multiple of 1024 → average.
DEPTH = {1: 52.9, 3: 71.2, 6: 77.2, 12: 81.5, 24: 82.1, 48: 81.8}
WIDTHS = {1: 71.2, 2: 74.6, 4: 76.3, 6: 74.0}

MARGIN = 0.02  # of perplexity: a smaller difference does not matter in what follows

ADAM = {"name": "adamw", "learning_rate": 2e-3, "schedule": "linear", "warmup": 0.1, "final": 0.0}
LAMB = {
    "name": "lamb",
    "bias_correction": False,
    "learning_rate": 0.00176,
    "schedule": "linear",
    "warmup_steps": 3125,
    "final": 0.0,
}
# At all but paper scale positions are rotary: with learned ones no model got beyond the
# frequencies of tokens within some thousand steps. At tiny and desk scale single tokens are hidden,
# at the others spans of up to three words.
SCALES = {
    "tiny": {
        "layers": 3,
        "width": 96,
        "heads": 4,
        "positions": "rotary",
        "model": {"dropout": 0.0, "init_std": 0.0},
        "task": {"corpus": "stdlib", "tokenizer": "bpe:512", "length": 128, "spans": 1},
        "train": {"steps": 1200, "batch": 16, "optimizer": ADAM},
        "every": 200,
        "seeds": (0, 1, 2),
    },
    "desk": {  # 6M tokens, no sentence loss
        "layers": 6,
        "width": 96,
        "heads": 4,
        "positions": "rotary",
        "model": {"dropout": 0.0, "init_std": 0.0},
        "task": {
            "corpus": "stdlib",
            "tokenizer": "bpe:512",
            "length": 128,
            "spans": 1,
            "sentence": "none",
        },
        "train": {"steps": 3000, "batch": 16, "optimizer": ADAM},
        "every": 500,
        "seeds": (0, 1, 2),
    },
    "small": {
        "layers": 12,
        "width": 384,
        "heads": 6,
        "positions": "rotary",
        "model": {"dropout": 0.0, "init_std": 0.0, "dtype": "bfloat16"},
        "task": {"corpus": "stdlib", "tokenizer": "bpe:8192", "length": 256},
        "train": {"steps": 20000, "batch": 64, "optimizer": {**ADAM, "learning_rate": 1e-3}},
        "every": 1000,
        "seeds": (0, 1, 2),
    },
    "paper": {
        "layers": 12,
        "width": WIDTH,
        "heads": 12,
        "positions": "learned",
        "model": {"dtype": "bfloat16"},
        "task": {"corpus": "wikitext-103", "tokenizer": "bpe:29996", "length": 512},
        "train": {"steps": 125000, "batch": 4096, "optimizer": LAMB},
        "every": 5000,
        "seeds": (0,),
    },
}


def make(arg, share="sf", **task):
    """ALBERT of a scale at the embedding size of 128 to the paper's 768, on its corpus."""
    scale = SCALES[arg.scale]
    embedding = {
        "kind": "factorised",
        "size": scale["width"] * 128 // WIDTH,
        "early": True,
        "back": False,
        "positions": scale["positions"],
    }
    sizes = scale["layers"], scale["width"], scale["heads"]
    corpus = {"corpus": arg.corpus} if arg.corpus else {}
    return config.make(
        seeds=scale["seeds"],
        model=variants.masked_encoder(
            *sizes, "gelu_tanh", embedding, share=share, **scale["model"]
        ),
        task={
            "kind": "masked_language_model",
            "sentence": "order",
            "spans": 3,
            **scale["task"],
            **corpus,
            **task,
        },
        train=scale["train"],
        evaluate={"every": scale["every"], "tokens": 0},
        save={"every": scale["every"]},
    )


def embedded(arg, size):
    """What gives the token table `size` columns of the paper's 768. At 768 it has no map."""
    width = SCALES[arg.scale]["width"]
    if size == WIDTH:
        std = SCALES[arg.scale]["model"].get("init_std", 0.02)
        given_up = dict.fromkeys(f"model.embedding.{name}" for name in ("size", "early", "back"))
        return {"model.embedding.kind": "plain", "model.embedding.init_std": std, **given_up}
    return {"model.embedding.size": size * width // WIDTH}


def table(title, cells, results, paper, label, **more):
    """Perplexity of hidden tokens, the paper's downstream average beside it, and the ranks."""
    return {
        "title": title,
        "metric": "perplexity",
        "split": "test",
        "columns": ["parameters.unique", "parameters.applied"],
        "paper": paper,
        "paper_label": f"Lan et al. 2019, {label}",
        "paper_metric": "downstream average",
        "sections": [accuracies(cells, results), *agreement(results, paper)],
        **more,
    }


def accuracies(cells, results):
    """What perplexity does not say, on the test split."""
    tokens = Mean("hidden tokens, %", "accuracy", "test", 1, 100)
    sentences = Mean("sentence order, %", "sentence_accuracy", "test", 1, 100)
    asked = any(results.values(cell.name, sentences.metric, "test") for cell in cells)
    columns = [tokens, *([sentences] if asked else [])]
    return means_by_cell("Accuracies", results, cells, columns)


def agreement(results, paper):
    """Does perplexity rank the cells as the paper's average does? Empty for fewer than four."""
    theirs, rows = list(paper.values()), []
    for metric, sign in (("perplexity", -1), ("accuracy", 1)):
        values = [results.values(name, metric, "test").values() for name in paper]
        if len(paper) < 4 or not all(values):
            return []
        ours = [sign * statistics.summary(v).mean for v in values]
        rho = statistics.rank_correlation(ours, theirs)
        said = f"{metric}, {'lower' if sign < 0 else 'higher'} is better"
        rows.append([said, str(rho.n), f"{rho.r:+.2f}", f"{rho.p:.3f}"])
    return [
        {
            "title": "Rank correlation with the paper's average",
            "columns": ["ours", "cells", "Spearman's rho", "p"],
            "rows": rows,
            "note": "Of the means over seeds; +1 is the same order of merit.",
        }
    ]


# Statements that no experiment here tests, and why.
UNTESTED = (
    Untested(
        "lan2019-table2",
        "ALBERT xxlarge is better than BERT large on all five downstream tasks",
        "Lan et al. 2019, Table 2",
        "no task for it: models are not fine-tuned here, and what we measure is intrinsic",
    ),
    Untested(
        "lan2019-table6",
        "At equal time of training, ALBERT xxlarge is better than BERT large",
        "Lan et al. 2019, Table 6",
        "no task for it: models are not fine-tuned here, and what we measure is intrinsic",
    ),
    Untested(
        "lan2019-table7",
        "More data for pre-training help on average",
        "Lan et al. 2019, Table 7",
        "no experiment file: the additional data are not given out, and models are not fine- "
        "tuned here",
    ),
    Untested(
        "lan2019-table8",
        "Without dropout the largest model is better",
        "Lan et al. 2019, Table 8",
        "no experiment file: a million steps of ALBERT xxlarge take weeks on a TPU pod",
    ),
    Untested(
        "lan2019-table9",
        "ALBERT is better than the best published models on GLUE",
        "Lan et al. 2019, Table 9",
        "no task for it: models are not fine-tuned here, and what we measure is intrinsic",
    ),
    Untested(
        "lan2019-table10",
        "ALBERT is better than the best published models on SQuAD and RACE",
        "Lan et al. 2019, Table 10",
        "no task for it: models are not fine-tuned here, and what we measure is intrinsic",
    ),
    Untested(
        "lan2019-table13",
        "ALBERT xxlarge is as good with 12 layers as with 24",
        "Lan et al. 2019, Table 13",
        "no experiment file: ALBERT xxlarge takes weeks on a TPU pod",
    ),
)
