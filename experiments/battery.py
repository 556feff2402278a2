"""What a mixer can recall, copy, keep and track: any orders, ten skills, a heat map.

    python launch.py sweep --config=experiments/battery.py --executor=processes
    python launch.py sweep --config='experiments/battery.py:orders=(sf)2;(mf)2;mfsf,skills=mqar;s5'
    python launch.py sweep --config='experiments/battery.py:orders=(sf)2;(gf)2,g=gru,width=64'

tiny  five seeds, half an hour for four orders on two cores
desk  five seeds, four times the steps, a night on two cores (estimated)

Orders and skills are separated by `;`. Besides s and f some letters are bound, see KINDS; others
are bound beside the orders. All have one width, and each (order, skill) has its own learning rate
from a ladder on a pilot seed. The skills are those of Arora et al. 2023 (mqar, and hard_mqar with
more pairs at the same width), Poli et al. 2024, Gu and Dao 2023 (induction), and two word problems:
parity and the permutations of five, both also beyond the length of training. At tiny scale only
attention recalls twelve pairs in every seed, only the LSTM has parity right beyond the length of
training, and nobody has learned the permutations.
"""

from arch import config, variants
from arch import order as orders
from arch.registry import ConfigurationError
from arch.report import charts, statistics
from arch.report.sections import Mean, difference_text
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from arch.sweeps.ladder import ladder

ARGUMENTS = {
    "scale": ("tiny", "desk"),
    "orders": "(sf)2;(mf)2;(lf)2;(vf)2",
    "skills": "all",
    "width": 32,
}
VARIES = (
    "model.order",
    "model.head.*",
    "task.*",
    "evaluate.splits",
    "train.optimizer.learning_rate",
)

KINDS = {  # letters that need not be bound
    "g": {"kind": "gru"},
    "l": {"kind": "lstm"},
    "m": {"kind": "mamba2", "state": 16, "chunk": 32},
    "n": {"kind": "mingru"},
    "v": {"kind": "separable_convolution"},
    "w": {"kind": "fixed_window"},
}
# What claims have to know of a kind, of those that claims could be about. The eigenvalues of a
# linear recurrence lie in 0 … 1; the others are not linear in the state, or keep a window.
LINEAR = ("mamba", "mamba2", "rwkv4", "rwkv6", "gated_linear_attention", "mingru", "minlstm")
NONLINEAR = ("lstm", "gru")
FIXED_STATE = (*LINEAR, *NONLINEAR, "delta")
RECONSTRUCTION = {"model.head.kind": "reconstruction"}
SKILLS = {
    "mqar": {"kind": "mqar", "pairs": 4, "vocabulary": 32, "length": 32},
    "hard_mqar": {"kind": "mqar", "pairs": 12, "vocabulary": 32, "length": 64},
    "in_context_recall": {"kind": "in_context_recall", "vocabulary": 16, "length": 63},
    "noisy_recall": {
        "kind": "noisy_recall", "vocabulary": 24, "noise_tokens": 8, "length": 63,
    },
    "fuzzy_recall": {
        "kind": "fuzzy_recall", "vocabulary": 12, "length": 63, "key_size": 2, "value_size": 2,
    },
    "selective_copy": {"kind": "selective_copy", "copied": 6, "vocabulary": 12, "length": 40},
    "compression": {"kind": "compression", "vocabulary": 16, "length": 16},
    "memorisation": {"kind": "memorisation", "vocabulary": 128, "length": 32},
    "induction": {"kind": "induction", "vocabulary": 16, "length": 48},
    "parity": {"kind": "parity", "length": 32, "lengths": (128,)},
    "s5": {"kind": "s5", "length": 16, "lengths": (32,)},
}  # fmt: skip
BEYOND = {"parity": "n128", "s5": "n32"}  # the split behind the length of training
SETTINGS = {
    "tiny": {"steps": 1000, "seeds": (0, 1, 2, 3, 4)},
    "desk": {"steps": 4000, "seeds": (0, 1, 2, 3, 4)},
}
RATES, PILOT = (1e-3, 3e-3, 1e-2), (100,)


def named(arg):
    """The orders in canonical form."""
    found = [orders.compress(text) for text in arg.orders.split(";") if text.strip()]
    if not found or len(set(found)) < len(found):
        raise ConfigurationError(
            f"orders={arg.orders}: expected different orders, separated by ; as in (sf)2;(mf)2"
        )
    return found


def skills(arg):
    """The names of the skills asked for."""
    found = list(SKILLS) if arg.skills == "all" else arg.skills.split(";")
    for name in found:
        if name not in SKILLS or found.count(name) > 1:
            raise ConfigurationError(
                f"skills={arg.skills}: allowed are all, or some of {', '.join(SKILLS)}, each once, "
                "separated by ;"
            )
    return found


def kinds(arg):
    """Letter → the options of the kind that it stands for, of the orders' letters."""
    bound = {**KINDS, **{letter: {"kind": kind} for letter, kind in arg.letters.items()}}
    used = set("".join(named(arg)))
    return {letter: options for letter, options in bound.items() if letter in used}


def get_config(arg):
    setting = SETTINGS[arg.scale]
    return config.make(
        seeds=setting["seeds"],
        model=variants.decoder(
            named(arg)[0],
            arg.width,
            2,
            sublayers=kinds(arg),
            embedding={"positions": "rotary"},  # which attention alone looks at
        ),
        task={"kind": "mqar"},
        train={
            "steps": setting["steps"],
            "batch": 32,
            "optimizer": {"beta2": 0.98, "weight_decay": 0.1, "warmup": 0.1},
        },
        evaluate={"every": setting["steps"] // 2},
        save={"every": setting["steps"]},
        log={"every": setting["steps"] // 10},
    )


def cells(arg, results):
    arms = [arm(order, skill) for skill in skills(arg) for order in named(arg)]
    return ladder(
        arms, "train.optimizer.learning_rate", RATES, PILOT, results,
        metric="accuracy", split="valid", lower_is_better=False,
    )  # fmt: skip


def arm(order, skill):
    task = {f"task.{name}": value for name, value in SKILLS[skill].items()}
    beyond = (BEYOND[skill],) if skill in BEYOND else ()
    head = RECONSTRUCTION if skill == "compression" else {}
    overrides = {"model.order": order, "evaluate.splits": ("valid", *beyond), **task, **head}
    return Cell(name_of(order, skill), overrides)


def name_of(order, skill):
    return f"{order.replace(' ', '')}-{skill}"


def columns(arg):
    """(header, skill, metric, split) of each column of the map."""
    found = [(skill, skill, "accuracy", "valid") for skill in skills(arg)]
    beyond = [skill for skill in skills(arg) if skill in BEYOND]
    return found + [
        (f"{skill} beyond", skill, "accuracy_beyond", BEYOND[skill]) for skill in beyond
    ]


def summary(results, order, column, metric=""):
    _, skill, of_column, split = column
    return Mean("", metric or of_column, split).summary(results, name_of(order, skill))


def TABLE(arg, cells, results):
    rows = {
        order: [(column[0], summary(results, order, column)) for column in columns(arg)]
        for order in named(arg)
    }
    rows["chance"] = [(column[0], chance(arg, results, column)) for column in columns(arg)]
    return {
        "title": f"What orders recall, copy, keep and track at width {arg.width}",
        "metric": "accuracy",
        "lower_is_better": False,
        "columns": ["order", "parameters.unique"],
        "sections": [intervals(arg, rows), differences(arg, results)],
        "charts": [charts.heat_map("skills", "Accuracy", rows, "")],
    }


def chance(arg, results, column):
    """Of the first order that has results: it is the same for all."""
    found = [summary(results, order, column, "chance") for order in named(arg)]
    return next((of for of in found if of.n), found[0])


def intervals(arg, rows):
    return {
        "title": "Accuracy by skill",
        "columns": ["skill", *rows],
        "rows": [
            [column[0], *(mean_in_interval(row[i][1]) for row in rows.values())]
            for i, column in enumerate(columns(arg))
        ],
        "note": "Mean over seeds and its interval of 95 %. Beyond: the positions behind the length "
        "of training, of sequences of 128 (parity) and 32 (s5).",
    }


def mean_in_interval(found):
    """'0.97 [0.95, 0.99]'; the interval may pass 1, which no accuracy does."""
    low, high = (statistics.number(value, 2) for value in (found.low, found.high))
    return statistics.number(found.mean, 2) + f" [{low}, {high}]" * (found.n > 1)


def differences(arg, results):
    first, *others = named(arg)
    rows = []
    for header, skill, metric, split in columns(arg):
        values = [results.values(name_of(order, skill), metric, split) for order in named(arg)]
        rows.append([header, *(difference_text(ours, values[0], 2) for ours in values[1:])])
    return {
        "title": f"Differences to {first}, paired by seed",
        "columns": ["skill", *others],
        "rows": rows,
    }


def mixers(arg, order):
    """The kinds of an order beside feed-forward."""
    of = {"s": {"kind": "attention"}, "f": {"kind": "feed_forward"}} | kinds(arg)
    found = {of[letter]["kind"] for letter in orders.expand(order) if letter in of}
    return found - {"feed_forward"}


def CLAIMS(arg, cells, results):
    """Of the orders with one mixer alone."""
    pure = {order: mixers(arg, order) for order in named(arg)}
    pure = {order: found.pop() for order, found in pure.items() if len(found) == 1}
    attention = [order for order, kind in pure.items() if kind == "attention"][:1]
    nonlinear = [order for order, kind in pure.items() if kind in NONLINEAR][:1]
    return [
        *(claim for order in attention for claim in recall_claims(arg, order, pure)),
        *(claim for order in nonlinear for claim in tracking_claims(arg, order, pure)),
    ]


def claim(arg, name, statement, source, contrast, **more):
    """A claim about accuracies; none where a skill was not asked for."""
    known = {name_of(order, skill) for order in named(arg) for skill in skills(arg)}
    if not set(contrast) <= known:
        return []
    return [
        Claim(
            name, statement, source, "higher", contrast,
            margin=0.05, scale="absolute", of_learning=True, **more,
        )
    ]  # fmt: skip


def recall_claims(arg, attention, pure):
    found = []
    for order, kind in pure.items():
        if kind == "attention":
            continue
        of, other = (lambda skill: name_of(attention, skill)), name_of(order, "hard_mqar")
        found += claim(
            arg, f"arora2023-recall-{kind}",
            f"Attention recalls more than {kind} does at the same width (12 pairs)",
            "Arora et al. 2023, Figure 2", {of("hard_mqar"): 1, other: -1},
        )  # fmt: skip
        if kind in FIXED_STATE:
            easy = name_of(order, "mqar")
            found += claim(
                arg, f"arora2023-pairs-{kind}",
                f"More pairs at the same width cost {kind} more than attention (12 against 4)",
                "Arora et al. 2023, Figure 2",
                {of("hard_mqar"): 1, of("mqar"): -1, other: -1, easy: 1},
            )  # fmt: skip
    return found


def tracking_claims(arg, nonlinear, pure):
    found = []
    for order, kind in pure.items():
        if kind in LINEAR:
            found += claim(
                arg, f"grazzi2024-parity-{kind}",
                "Beyond the length of training, a recurrence that is not linear has more of parity "
                f"right than {kind}, whose eigenvalues are positive",
                "Grazzi et al. 2024",
                {name_of(nonlinear, "parity"): 1, name_of(order, "parity"): -1},
                metric="accuracy_beyond", split=BEYOND["parity"],
            )  # fmt: skip
        if kind in (*LINEAR, "attention"):
            found += claim(
                arg, f"merrill2024-s5-{kind}",
                f"A recurrence that is not linear has more of S5's word problem right than {kind}",
                "Merrill et al. 2024", {name_of(nonlinear, "s5"): 1, name_of(order, "s5"): -1},
            )  # fmt: skip
    return found
