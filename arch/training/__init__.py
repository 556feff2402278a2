"""Training: a replica's pure functions, the program that compiles them for a group, the loop that
logs and saves, evaluation, and what a configuration costs (describe, bench). Which cells and seeds
are trained is decided in `arch.sweeps`; files are written by `arch.runs`."""
