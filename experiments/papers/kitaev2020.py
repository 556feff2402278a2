"""Kitaev, Kaiser and Levskaya 2020 (Reformer, arXiv 2001.04451): printed figures. Data only."""

# Table 2, accuracy in %: trained with → evaluated with; |w| = 511, one layer of width 256.
EVALUATED = ("full", "lsh8", "lsh4", "lsh2", "lsh1")
DUPLICATION = {
    "full": (100, 94.8, 92.5, 76.9, 52.5),
    "lsh4": (0.8, 100, 99.9, 99.4, 91.9),
    "lsh2": (0.8, 100, 99.9, 98.1, 86.8),
    "lsh1": (0.8, 99.9, 99.6, 94.8, 77.9),
}
