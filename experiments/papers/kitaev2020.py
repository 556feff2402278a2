"""Kitaev, Kaiser and Levskaya 2020 (Reformer, arXiv 2001.04451): printed figures. Data only."""

from arch.report.claims import Untested

# Table 2, accuracy in %: trained with → evaluated with; |w| = 511, one layer of width 256.
EVALUATED = ("full", "lsh8", "lsh4", "lsh2", "lsh1")
DUPLICATION = {
    "full": (100, 94.8, 92.5, 76.9, 52.5),
    "lsh4": (0.8, 100, 99.9, 99.4, 91.9),
    "lsh2": (0.8, 100, 99.9, 98.1, 86.8),
    "lsh1": (0.8, 99.9, 99.6, 94.8, 77.9),
}

# Statements that no experiment here tests, and why.
UNTESTED = (
    Untested(
        "kitaev2020-table4",
        "Reversible Transformers translate English to German as well as plain ones",
        "Kitaev et al. 2020, Table 4",
        "no experiment file: WMT 2014 takes days on 8 GPUs",
    ),
    Untested(
        "kitaev2020-depth",
        "On enwik8, deeper Reformers, up to 20 layers, are better",
        "Kitaev et al. 2020, Figure 5, left",
        "no experiment file: enwik8 in 65,536 bytes takes days on 8 GPUs",
    ),
    Untested(
        "kitaev2020-enwik8",
        "A Reformer of 12 layers reaches 1.05 bits a byte of enwik8",
        "Kitaev et al. 2020, section 5",
        "no experiment file: enwik8 in 65,536 bytes takes days on 8 GPUs",
    ),
    Untested(
        "kitaev2020-imagenet64",
        "Eight rounds match full attention on images of 64 by 64, too",
        "Kitaev et al. 2020, Figure 4",
        "no task for it: images are not among the data that are read here",
    ),
)
