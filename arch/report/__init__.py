"""From the committed lines of `results/` to tables, figures and pages, and what statistics may say.

Runs and their checkpoints are in `arch.runs`; which cells are trained is for `arch.sweeps` to say.
An experiment writes its TABLE with `sections` and `charts`; `specification` lists its keys.
"""
