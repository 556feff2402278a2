"""Translation: a Transformer, a Universal Transformer, and one that halts, by BLEU.

    python launch.py sweep --config=experiments/universal_translation.py
    python launch.py sweep --config=experiments/universal_translation.py:scale=small
    python launch.py sweep --config=experiments/universal_translation.py:scale=paper

tiny   Multi30k, German to English, width 128; half an hour on one core
small  Multi30k, width 256; half an hour on one GPU (estimated), 30 BLEU and more to be expected
paper  WMT 2014, English to German, the paper's base sizes; days on 8 GPUs (estimated)

Dehghani et al. 2018, the table of WMT14 En-De, whose BLEU is of another corpus and of longer
training: it stands beside ours and is not compared. The Universal Transformer has one layer of its
encoder and of its decoder and runs them as often as the Transformer has layers; at tiny and small
scale its width is the same, so that it has fewer parameters, and at the paper's it is twice as
great, as there. Output is decoded with a beam of 4 and scored by sacrebleu;
the signature is in the table's note. At tiny scale expect 34.4 BLEU of the Transformer, 34.0 of the
Universal Transformer with a third of its layers' parameters, and 32.9 with halting, where the
encoder stops after one step of six and the decoder after two.
"""

from arch import config, variants
from arch.report import statistics
from arch.report.sections import Mean, means_by_cell
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments.papers import dehghani2018
from experiments.papers.dehghani2018 import NAMES

ARGUMENTS = {"scale": ("tiny", "small", "paper"), "source": "", "target": ""}
VARIES = (
    "model.order",
    "model.encoder_order",
    "model.stack.kind",
    "model.stack.steps",
    "model.stack.halting",
    # at paper scale
    "model.stack.step_signal",
    "model.width",
    "model.dropout",
    "model.sublayers.?.heads",
    "train.optimizer.learning_rate",
)

ADAM = {"name": "adamw", "learning_rate": 2e-3, "beta2": 0.98, "weight_decay": 0.0, "warmup": 0.1}
SCALES = {
    "tiny": {
        "model": {"width": 128, "heads": 4, "dropout": 0.1},
        "layers": 3,
        "task": {"corpus": "multi30k", "tokenizer": "bpe:4000"},
        "pair": ("de", "en"),
        "train": {"steps": 2500, "batch": 16, "optimizer": ADAM},
        "every": 500,
        "seeds": (0,),
    },
    "small": {
        "model": {"width": 256, "heads": 8, "dropout": 0.3, "dtype": "bfloat16"},
        "layers": 4,
        "task": {"corpus": "multi30k", "tokenizer": "bpe:8000"},
        "pair": ("de", "en"),
        "train": {"steps": 8000, "batch": 64, "optimizer": {**ADAM, "learning_rate": 1e-3}},
        "every": 500,
        "seeds": (0, 1, 2),
    },
    "paper": {
        "model": {
            "width": 512,
            "heads": 8,
            "dropout": 0.1,
            "dtype": "bfloat16",
            "attention": dehghani2018.ATTENTION,
            "feed_forward": dehghani2018.FEED_FORWARD,
        },
        "layers": 6,
        "task": {
            "corpus": "wmt14",
            "tokenizer": "bpe:32000",
            "length": 128,
            "buckets": (16, 32, 64, 128),
        },
        "pair": ("en", "de"),
        "train": {
            "steps": 300000,
            "batch": 256,
            "clip": 0.0,
            "optimizer": dehghani2018.adam(512),
        },
        "every": 5000,
        "seeds": (0,),
    },
}
# at the paper's scale its two models are each of a 'base' of their own: widths of 512 and of 1024
UNIVERSAL_BASE = {
    "model.width": 1024,
    "model.dropout": 0.3,
    "model.sublayers.s.heads": 16,
    "model.sublayers.c.heads": 16,
    "train.optimizer.learning_rate": dehghani2018.adam(1024)["learning_rate"],
    **dehghani2018.UNIVERSAL,
}
# newstest2014 En-De; of halting the paper says that it "marginally degraded" translation
PAPER = {"transformer": 28.0, "ut": 28.9}


def get_config(arg):
    return make(arg, SCALES[arg.scale])


def make(arg, scale):
    """The Transformer of a scale on its corpus."""
    source, target = (
        given or own for given, own in zip((arg.source, arg.target), scale["pair"], strict=True)
    )
    return config.make(
        seeds=scale["seeds"],
        model=variants.transformer(scale["layers"], **scale["model"]),
        task={"kind": "translation", "source": source, "target": target, **scale["task"]},
        train=scale["train"],
        evaluate={"every": scale["every"], "tokens": 0},
        save={"every": scale["every"]},
    )


def cells(arg, results):
    layers = SCALES[arg.scale]["layers"]
    universal = {
        "model.encoder_order": "sf",
        "model.order": "scf",
        "model.stack.kind": "universal",
        "model.stack.steps": layers,
        **(UNIVERSAL_BASE if arg.scale == "paper" else {}),
    }
    halting = {"model.stack.halting": "act", "model.stack.steps": 2 * layers}
    return [
        Cell("transformer", variant=NAMES["transformer"]),
        Cell("ut", universal, variant=NAMES["ut"]),
        Cell("ut_act", universal | halting, variant=NAMES["ut_act"]),
    ]


def TABLE(arg, cells, results):
    return {
        "title": f"Translation, {SCALES[arg.scale]['task']['corpus']}",
        "metric": "bleu",
        "lower_is_better": False,
        "split": "test",
        "baseline": "transformer",
        "columns": ("parameters.unique", "parameters.applied"),
        "paper": PAPER,
        "paper_label": "Dehghani et al. 2018: newstest2014 En-De",
        "paper_unit": "WMT14",
        "sections": [measures(cells, results)],
    }


def CLAIMS(arg, cells, results):
    table = "Dehghani et al. 2018, WMT14 En-De"
    return [
        Claim(
            "dehghani2018-translation",
            "The Universal Transformer translates better than the Transformer (BLEU)",
            table,
            "higher",
            {"ut": 1, "transformer": -1},
            effect=PAPER["ut"] - PAPER["transformer"],
            margin=0.5,
            scale="absolute",
        ),
        Claim(
            "dehghani2018-translation-act",
            "Halting makes its translations a little worse (BLEU)",
            table,
            "lower",
            {"ut_act": 1, "ut": -1},
            margin=0.5,
            scale="absolute",
        ),
    ]


def measures(cells, results):
    """What BLEU does not say: perplexity, accuracy, ponder time, and how BLEU was measured."""
    ponder, signatures = {}, set()
    for cell in cells:
        times = [
            statistics.summary(results.values(cell.name, name, "test").values())
            for name in ("encoder_ponder_time", "ponder_time")
        ]
        ponder[cell.name] = " / ".join(f"{s.mean:.2f}" for s in times if s.n) or "—"
        signatures |= {*results.values(cell.name, "bleu_signature", "test").values()}
    return means_by_cell(
        "Beside BLEU, on the test split",
        results,
        cells,
        [
            Mean("perplexity a subword", "perplexity", "test", 2),
            Mean("token accuracy, teacher-forced", "token_accuracy_teacher_forced", "test"),
        ],
        beside={"ponder time, encoder / decoder": ponder},
        note=f"BLEU by sacrebleu, {' and '.join(sorted(signatures)) or 'not measured yet'}.",
    )
