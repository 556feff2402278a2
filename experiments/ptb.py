"""Word-level Penn Treebank: a Kneser-Ney 5-gram, a small Transformer, the published figures.

    python launch.py sweep --config=experiments/ptb.py
    python launch.py sweep --config=experiments/ptb.py:scale=small

tiny   one seed, 40 core-minutes: about 20 minutes on two idle cores
small  five seeds, minutes on one GPU (estimated)

The corpus is read from ARCH_DATA_DIR/ptb or downloaded once. Expect a test perplexity near 102 at
tiny (windows of 128, stride 32), well below the Kneser-Ney 5-gram's 141.2 and above the LSTMs that
train for far longer. The 5-gram is counted in two seconds and is 141.18 here, over all targets but
the first: lines begin anew, `<unk>` and line ends are words like others, |V| = 10,000. Its
discounts of counts 1, 2, 3 and more (they are in runs.jsonl too) are 0.960, 1.388, 1.242 for
5-grams, 0.943, 1.383, 1.432 for 4-grams, 0.869, 1.255, 1.448 for 3-grams, 0.728, 1.099, 1.471 for
2-grams and 0.257, 0.829, 1.262 for single words.
"""

from arch import config, variants
from arch.sweeps.experiment import Cell

ARGUMENTS = {"scale": ("tiny", "small"), "corpus": "ptb"}
VARIES = ("baseline.kind",)

SETTINGS = {
    "tiny": {
        "shape": {"layers": 4, "width": 256, "heads": 4},
        "dropout": 0.1,
        "task": {"length": 128},
        "train": {"steps": 5200, "batch": 8},
        "seeds": (0,),
    },
    "small": {
        "shape": {"layers": 8, "width": 384, "heads": 6},
        "dropout": 0.4,
        "task": {"length": 128},
        "train": {"steps": 20000, "batch": 32},
        "seeds": (0, 1, 2, 3, 4),
    },
}

# Test perplexities as published: Mikolov and Zweig 2012 (5-gram), Zaremba et al. 2014 (LSTM),
# Merity et al. 2018 (AWD-LSTM), Dai et al. 2019 (Transformer-XL).
PUBLISHED = {
    "Kneser-Ney 5-gram": 141.2,
    "LSTM, medium": 82.7,
    "AWD-LSTM": 57.3,
    "Transformer-XL": 54.5,
}


def get_config(arg):
    setting = SETTINGS[arg.scale]
    model = variants.vanilla(**setting["shape"], dropout=setting["dropout"])
    optimizer = {
        "name": "adamw",
        "learning_rate": 1e-3,
        "beta2": 0.98,
        "weight_decay": 0.1,
        "final": 0.02,
    }
    return config.make(
        seeds=setting["seeds"],
        model=model,
        task={"corpus": arg.corpus, "tokenizer": "words", **setting["task"]},
        train={**setting["train"], "optimizer": optimizer},
        evaluate={"every": 400, "tokens": 16384, "window": 128, "stride": 32},
        save={"every": 800},
        log={"every": 40},
    )


def cells(arg, results):
    five = {"baseline.kind": "kneser_ney", "baseline.n": 5}
    return [
        Cell("kneser-ney-5", five, variant="kneser_ney", seeds=(0,)),
        Cell("transformer", variant="vanilla"),
    ]


def TABLE(arg, cells, results):
    return {
        "title": "Word-level Penn Treebank",
        "metric": "perplexity",
        "split": "test",
        "baseline": "transformer",
        "paper": {"kneser-ney-5": PUBLISHED["Kneser-Ney 5-gram"]},
        "paper_label": "Mikolov and Zweig 2012",
        "paper_unit": "word",
        "sections": [
            {
                "title": "Published test perplexities",
                "columns": ["model", "perplexity"],
                "rows": [[name, f"{value:.1f}"] for name, value in PUBLISHED.items()],
                "note": "Each with the context its paper evaluates with; ours is named above.",
            }
        ],
    }
