"""LAMBADA: the last word of a passage, by Transformer, Universal Transformer, and that with ACT.

    python launch.py sweep --config=experiments/universal_lambada.py
    python launch.py sweep --config=experiments/universal_lambada.py:form=reading
    python launch.py sweep --config=experiments/universal_lambada.py:scale=paper,corpus=file:NOVELS

tiny   Penn Treebank, width 64, 3 seeds: some ten minutes a form on two cores
small  wikitext-103, width 512, hours on one GPU (estimated)
paper  the sizes of the paper's 'base', days on 8 GPUs (estimated); NOVELS is the folder
       train-novels of the authors' distribution

Dehghani et al. 2018, the LAMBADA table. form=language_model predicts the word from what stands
before it: its figure is perplexity a word (a word of several bpe tokens has their sum), beside it
the accuracy. form=reading points at the word in the passage: its figure is accuracy over all
passages, those without the word in their last `length` tokens, or with a word that the vocabulary
lacks, being wrong; `answerable_share` is its upper bound (0.31 for the words of Penn Treebank at
length 64).
At paper scale two things differ from the paper: a language model's labels are not smoothed, where
the authors' are by 0.1, and one stack stands for their encoder and decoder.
`valid` is the training corpus's own, where the paper's control is passages of the novels.

Text of newspapers, 0.9 million words of it, says little of novels: at tiny scale expect all three
models to find 5 % of the words in reading, of the 31 % that could be found. And the last word,
often a name, comes in several rare pieces: expect perplexities of millions and accuracies near 0 as
a language model. The test passages are read from ARCH_DATA_DIR/lambada.
"""

from arch import config, variants
from arch.report.sections import Mean, means_by_cell
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import dehghani2018

ARGUMENTS = {
    "scale": ("tiny", "small", "paper"),
    "form": ("language_model", "reading"),
    "corpus": "",
    "passages": "",
}
VARIES = (
    "model.order",
    "model.stack.kind",
    "model.stack.steps",
    "model.stack.halting",
    "model.stack.step_signal",  # at paper scale
)

ADAM = {"name": "adamw", "learning_rate": 1e-3, "beta2": 0.98}
SCALES = {
    "tiny": {
        "model": {"layers": 3, "width": 64, "heads": 4, "dropout": 0.1},
        "task": {"corpus": "ptb", "passages": "penn", "length": 64},
        "tokenizer": {"language_model": "bpe:4000", "reading": "words:10000"},
        "train": {"steps": 1000, "batch": 16, "optimizer": ADAM},
        "evaluate": {"every": 500, "tokens": 16384},
        "save": {"every": 500},
    },
    "small": {
        "model": {"layers": 6, "width": 512, "heads": 8, "dropout": 0.1, "dtype": "bfloat16"},
        "task": {"corpus": "wikitext-103", "passages": "split", "length": 128},
        "tokenizer": {"language_model": "bpe:16000", "reading": "words:60000"},
        "train": {"steps": 50000, "batch": 64, "optimizer": ADAM},
        "evaluate": {"every": 2000},
        "save": {"every": 2000},
    },
    "paper": {
        "model": {
            "layers": 6,
            "width": 1024,
            "heads": 16,
            "dropout": 0.3,
            "dtype": "bfloat16",
            "sublayers": {
                "s": {"kind": "attention", "heads": 16, **dehghani2018.ATTENTION},
                "f": {"kind": "feed_forward", **dehghani2018.FEED_FORWARD},
            },
        },
        "task": {"corpus": "wikitext-103", "passages": "lower", "length": 128},
        "tokenizer": {"language_model": "words:60000", "reading": "words:60000"},
        "train": {
            "steps": 350000,
            "batch": 32,
            "clip": 0.0,
            "optimizer": dehghani2018.adam(1024),
        },
        "evaluate": {"every": 5000},
        "save": {"every": 5000},
    },
}
METRICS = {"language_model": "perplexity", "reading": "accuracy"}
# the test set: perplexity and accuracy as a language model, accuracy of reading comprehension;
# the Universal Transformers of 6 steps
PAPER = {
    "transformer": {"perplexity": 7321, "accuracy": 0.0, "reading": 0.3988},
    "ut": {"perplexity": 319, "accuracy": 0.17, "reading": 0.5216},
    "ut_act": {"perplexity": 142, "accuracy": 0.19, "reading": 0.5625},
}


def get_config(arg):
    scale = SCALES[arg.scale]
    model = variants.vanilla(**scale["model"])
    chosen = {k: getattr(arg, k) for k in ("corpus", "passages") if getattr(arg, k)}
    if arg.form == "reading":
        model |= {"family": "encoder", "head": {"kind": "pointer"}}
        if arg.scale == "paper":
            chosen["label_smoothing"] = dehghani2018.LABEL_SMOOTHING
    return config.make(
        model=model,
        task={
            "kind": "lambada",
            "form": arg.form,
            "tokenizer": scale["tokenizer"][arg.form],
            **scale["task"],
            **chosen,
        },
        train=scale["train"],
        evaluate=scale["evaluate"],
        save=scale["save"],
    )


def cells(arg, results):
    steps = SCALES[arg.scale]["model"]["layers"]
    universal = {"model.order": "sf", "model.stack.kind": "universal", "model.stack.steps": steps}
    if arg.scale == "paper":
        universal |= dehghani2018.UNIVERSAL
    # the authors' code lets ACT take twice the steps
    halting = {"model.stack.steps": 2 * steps, "model.stack.halting": "act"}
    return [
        Cell("transformer", variant="vanilla"),
        Cell("ut", universal, variant="universal"),
        Cell("ut_act", universal | halting, variant="universal"),
    ]


def TABLE(arg, cells, results):
    metric = METRICS[arg.form]
    reading = arg.form == "reading"
    return {
        "title": f"LAMBADA, {'reading' if reading else 'language model'}, {arg.scale}",
        "metric": metric,
        "lower_is_better": not reading,
        "split": "test",
        "baseline": "transformer",
        "paper": {k: v["reading" if reading else metric] for k, v in PAPER.items()},
        "paper_label": "Dehghani et al. 2018: LAMBADA, test",
        "paper_unit": "word",
        "sections": [beside(arg, cells, results)],
    }


def CLAIMS(arg, cells, results):
    reading, metric = arg.form == "reading", METRICS[arg.form]
    column = "reading" if reading else metric
    scale, direction = ("absolute", "higher") if reading else ("relative", "lower")

    def claim(statement, ours, base):
        effect = PAPER[ours][column] - PAPER[base][column]
        return Claim(
            f"dehghani2018-lambada-{arg.form}-{ours}",
            statement,
            "Dehghani et al. 2018, LAMBADA",
            direction,
            {ours: 1, base: -1},
            effect=effect if reading else effect / PAPER[base][column],
            margin=0.01,
            scale=scale,
        )

    what = "accuracy in reading comprehension" if reading else "perplexity of the last word"
    return [
        claim(f"The Universal Transformer has a better {what} than the Transformer", "ut",
              "transformer"),
        claim(f"With halting, the Universal Transformer has a better {what}", "ut_act", "ut"),
    ]  # fmt: skip


def beside(arg, cells, results):
    """What the metric does not say: accuracy, what could be reached at all, the control."""
    reading, metric = arg.form == "reading", METRICS[arg.form]
    limit = (
        Mean("share with the word in reach", "answerable_share", "test")
        if reading
        else Mean("share of unknown words", "unknown_share", "test")
    )
    printed = {name: f"{p['reading' if reading else 'accuracy']:.2f}" for name, p in PAPER.items()}
    return means_by_cell(
        "The last word of the test passages, and the training corpus's own text",
        results,
        cells,
        [Mean("accuracy", "accuracy", "test"), limit, Mean(f"valid: {metric}", metric, "valid")],
        beside={"paper: accuracy": printed},
        note="valid is held-out text of the training corpus, where the paper's control is "
        "passages of its training novels.",
    )
