"""The number of a verb across nouns of the other number: LSTM, Transformer, Universal, ACT.

    python launch.py sweep --config=experiments/universal_agreement.py

Eight minutes on one core. Of all verbs 0.99 are right; behind five attractors the Universal
Transformer has 0.990 (SD 0.003), the LSTM 0.965 (0.025), the Transformer 0.922 (0.061), and with
halting, where a position may take twice the steps, 0.625 (0.107): three seeds, 1,500 steps. After
3,000 steps, with more attractors in training, LSTM and Transformer had no error in a trial.

Dehghani et al. 2018, the table of subject-verb agreement by the number of attractors. Theirs is the
set of Linzen et al. 2016, sentences of Wikipedia, learned as a language model. This is **another
set**: sentences of a small grammar, of which the verb alone is learned, see
`arch.data.generated.sentences`. So there is no paper scale: figures stand beside the paper's, and
do not compare with them.
"""

from arch import config, variants
from arch.report.sections import Mean, means_by_cell
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers.dehghani2018 import AGREEMENT, NAMES

VARIES = ("model.order", "model.stack.kind", "model.stack.steps", "model.stack.halting")
ATTRACTORS = {f"attractors{k}": k for k in range(6)}
LAYERS = 3


def get_config(arg):
    letters = {"l": {"kind": "lstm"}}
    optimizer = {"learning_rate": 2e-3, "beta2": 0.98, "warmup": 0.1}
    return config.make(
        model=variants.vanilla(LAYERS, width=64, heads=4, sublayers=letters),
        task={"kind": "subject_verb_agreement", "evaluation_examples": 1024},
        train={"steps": 1500, "batch": 32, "optimizer": optimizer},
        evaluate={"every": 500, "tokens": 0, "splits": ("valid", "test", *ATTRACTORS)},
        save={"every": 500},
    )


def cells(arg, results):
    universal = {"model.order": "sf", "model.stack.kind": "universal"}
    halting = {"model.stack.steps": 2 * LAYERS, "model.stack.halting": "act"}
    return [
        Cell("lstm", {"model.order": "l2"}, variant="lstm"),
        Cell("transformer", variant="vanilla"),
        Cell("ut", universal | {"model.stack.steps": LAYERS}, variant="universal"),
        Cell("ut_act", universal | halting, variant="universal"),
    ]


def TABLE(arg, cells, results):
    columns = [Mean(f"{k}", "accuracy", split) for split, k in ATTRACTORS.items()]
    theirs = {name: f"{AGREEMENT[name]['attractors5']:.3f}" for name in NAMES}
    return {
        "title": "Subject-verb agreement in sentences of a small grammar",
        "metric": "accuracy",
        "lower_is_better": False,
        "split": "test",
        "baseline": "transformer",
        "paper": {name: AGREEMENT[name]["test"] for name in NAMES},
        "paper_label": "Dehghani et al. 2018, on Linzen's sentences",
        "sections": [
            means_by_cell(
                "Accuracy by the number of attractors", results, cells, columns, labels=NAMES,
                beside={"paper: 5, other sentences": theirs},
            )
        ],
    }  # fmt: skip


def CLAIMS(arg, cells, results):
    def claim(ours, other, split, where, direction="higher"):
        more = "as many verbs right as" if direction == "equal" else "more verbs right than"
        return Claim(
            f"dehghani2018-agreement-{split}-{ours}-{other}",
            f"Agreement, {where}: the {NAMES[ours]} gets {more} the {NAMES[other]}",
            "Dehghani et al. 2018, subject-verb agreement",
            direction,
            {ours: 1, other: -1},
            effect=AGREEMENT[ours][split] - AGREEMENT[other][split],
            margin=0.005,
            scale="absolute",
            split=split,
        )

    return [
        claim("ut", "lstm", "test", "all sentences", "equal"),
        claim("ut", "transformer", "test", "all sentences"),
        claim("ut", "lstm", "attractors5", "five attractors"),
        claim("ut", "transformer", "attractors5", "five attractors"),
        claim("ut_act", "ut", "attractors5", "five attractors"),
    ]
