"""Sandwiches in translation: k units moved in the encoder, or in the decoder with s and c as one.

    python launch.py sweep --config=experiments/sandwich_translation.py
    python launch.py sweep --config=experiments/sandwich_translation.py:scale=small

tiny   Multi30k, 3 + 3 layers at width 64; half an hour on one core
small  Multi30k, 6 + 6 layers at width 256; two hours on one GPU (estimated)
paper  WMT 2014 En-De, 6 + 6 layers; days on 8 GPUs (estimated)

Press, Smith and Levy 2020, Table 6: no coefficient differs from the baseline, 28.74 ± 0.15 BLEU, by
more than chance explains. A decoder (scf)3 with k = 1 is scscfscff. All cells start from the same
weights and see the same batches, so that differences are paired by seed. At tiny scale, an epoch or
so, expect 12.8 BLEU of the baseline, and sandwiches below it by less than chance explains, but for
the decoder's k = 2, by 0.6 (which with four comparisons is little).
"""

from arch import variants
from arch.report.verdicts import Claim
from arch.sweeps.experiment import Cell
from experiments import universal_translation
from experiments.papers import press2020

ARGUMENTS = {"scale": ("tiny", "small", "paper"), "source": "", "target": ""}
VARIES = ("model.order", "model.encoder_order")

BASE = universal_translation.SCALES
SCALES = {
    "tiny": {
        **BASE["tiny"],
        "model": {"width": 64, "heads": 4, "dropout": 0.1},
        "layers": 3,
        "train": {**BASE["tiny"]["train"], "steps": 700},
        "every": 350,
        "coefficients": (1, 2),
        "seeds": (0, 1, 2),
    },
    "small": {**BASE["small"], "layers": 6, "coefficients": (1, 2, 3, 4, 5)},
    "paper": {
        **BASE["paper"],
        "coefficients": (1, 2, 3, 4, 5),
        "seeds": (0, 1, 2, 3, 4),
    },
}


def get_config(arg):
    return universal_translation.make(arg, SCALES[arg.scale])


def cells(arg, results):
    scale, found = SCALES[arg.scale], [Cell("baseline", variant="transformer")]
    for part in ("encoder", "decoder"):
        for k in scale["coefficients"]:
            moved = variants.transformer(scale["layers"], **{f"{part}_coefficient": k})
            orders = {f"model.{name}": moved[name] for name in ("encoder_order", "order")}
            found.append(Cell(f"{part}-k{k}", orders, variant="sandwich"))
    return found


def TABLE(arg, cells, results):
    paper = {"baseline": {"value": 28.74, "sd": 0.15}}
    for part in ("encoder", "decoder"):
        paper |= {f"{part}-k{k}": bleu for k, bleu in press2020.TABLE6[part].items()}
    return {
        "title": f"Sandwiches in translation, {SCALES[arg.scale]['task']['corpus']}",
        "metric": "bleu",
        "lower_is_better": False,
        "split": "test",
        "baseline": "baseline",
        "columns": ("order", "parameters.unique"),
        "paper": {cell.name: paper[cell.name] for cell in cells},
        "paper_label": "Press et al. 2020, Table 6: newstest2014 En-De, 6 + 6 layers",
        "paper_unit": "WMT14",
        "sections": [universal_translation.measures(cells, results)],
    }


def CLAIMS(arg, cells, results):
    ks = SCALES[arg.scale]["coefficients"]
    return [
        Claim(
            f"press2020-table6-{part}",
            f"Moving sublayers of the {part} into a sandwich does not change BLEU, on average "
            "over the coefficients",
            "Press et al. 2020, Table 6",
            "equal",
            {**{f"{part}-k{k}": 1 / len(ks) for k in ks}, "baseline": -1},
            effect=sum(press2020.TABLE6[part][k] for k in ks) / len(ks)
            - press2020.TABLE6["baseline"][0],
            margin=0.5,
            scale="absolute",
        )
        for part in ("encoder", "decoder")
    ]
