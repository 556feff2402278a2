"""Parameters of BERT and ALBERT, without heads and with those of pre-training; nothing is trained.

    python launch.py sweep --config=experiments/albert_sizes.py
    python launch.py describe --config=experiments/albert_sizes.py

Counting takes a minute on any machine, most of it for the corpus. Lan et al. 2019, Table 1, with
the sharing and the embedding sizes of Tables 3 and 4. The papers round, and not to one rule: the
encoder of ALBERT xxlarge, 222.6M, is 235M in Table 1. An encoder is table, layers and pooler.
"""

from arch import config, variants
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import lan2019

ARGUMENTS = {"corpus": "stdlib"}
VARIES = (
    "model.order",
    "model.width",
    "model.embedding.*",
    "model.head.*",
    "model.stack.share",
    "model.sublayers.s.heads",
    "model.sublayers.f.*",
    "task.tokenizer",
)

ENCODER = {"head": {"predict": False, "classes": 0}}
LENGTH = 512
ROUNDING = 0.05  # half a million of the least count, ten
SEEDS = (0,)  # a count is the same for all


def models():
    """Cell → (model, entries of the vocabulary beside the four special ones, the paper's count)."""
    found = {}

    def add(name, variant, entries, paper, **options):
        found[name] = variant(**options, **ENCODER), entries, paper
        found[f"{name}+heads"] = variant(**options), entries, None

    for size in variants.BERT:
        name = f"bert-{size}"
        add(name, variants.bert, 30518, lan2019.SIZES[name], size=size)
    for size in variants.ALBERT:
        name = f"albert-{size}"
        add(name, variants.albert, 29996, lan2019.SIZES[name], size=size)
    for (sharing, embedding_size), (paper, _) in lan2019.BASE.items():
        if (sharing, embedding_size) != ("all", 128):  # base as it is
            add(
                f"albert-base-E{embedding_size}-{sharing}", variants.albert, 29996, paper,
                share=lan2019.SHARING[sharing], embedding_size=embedding_size,
            )  # fmt: skip
    return found


def task(arg, entries):
    tokenizer = f"words:{entries}"
    kind = "masked_language_model"
    return {"kind": kind, "corpus": arg.corpus, "tokenizer": tokenizer, "length": LENGTH}


def get_config(arg):
    model, entries, _ = models()["albert-base"]
    return config.make(seeds=SEEDS, model=model, task=task(arg, entries))


def cells(arg, results):
    base = config.flat(get_config(arg).to_dict())
    found = []
    for name, (model, entries, _) in models().items():
        own = config.make(seeds=SEEDS, model=model, task=task(arg, entries))
        fields = config.flat(own.to_dict())
        changes = dict.fromkeys(field for field in base if field not in fields)
        changes |= {k: v for k, v in fields.items() if v != base.get(k)}
        if "model.embedding.kind" in changes:
            changes["model.embedding.init_std"] = 0.0  # nothing is initialised to be counted
        found.append(Cell(name, changes, variant=name.partition("-")[0]))
    return found


def measure(config, task, model, seed):
    counts = model.parameter_counts()
    return {"millions": counts["unique"] / 1e6, "applied": counts["applied"] / 1e6}


TABLE = {
    "title": "Parameters of BERT and ALBERT",
    "metric": "millions",
    "split": "measured",
    "exact": True,
    "columns": ["parameters.unique", "parameters.applied", "flops_per_token"],
    "paper": {name: {"value": paper} for name, (_, _, paper) in models().items() if paper},
    "paper_label": "Lan et al. 2019, Tables 1, 3 and 4",
    "paper_comparable": True,
}


def CLAIMS(arg, cells, results):
    printed = {name: paper for name, (_, _, paper) in models().items() if paper}
    ours = {name: results.values(name, "millions", "measured").get(0) for name in printed}
    table1 = [name for name in printed if name in lan2019.SIZES and ours[name]]
    others = {n: ours[n] / printed[n] - 1 for n in printed if n not in lan2019.SIZES and ours[n]}
    claims = [
        Claim(
            f"lan2019-table1-{name}",
            f"An encoder of {name} has {printed[name]} million parameters",
            "Lan et al. 2019, Table 1",
            "equal",
            values={0: ours[name] / printed[name] - 1},
            margin=ROUNDING,
        )
        for name in table1
    ]
    if others:
        claims.append(
            Claim(
                "lan2019-tables3-4-sizes",
                "Counts at other sharing and embedding sizes (the one that differs most)",
                "Lan et al. 2019, Tables 3 and 4",
                "equal",
                values={0: max(others.values(), key=abs)},
                margin=ROUNDING,
            )
        )
    return claims
