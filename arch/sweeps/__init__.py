"""Experiments, and how their cells are trained.

cells            a cell, and its results            products  of values on the command line
experiment_file  what a file may define     experiment  its arguments, cells and results
sweep            cells × seeds              running     a sweep to its end; gathering  results/
groups           what trains together       executors/  who trains it; worker  a process of its own
held             other configurations under a name      reuse  what is finished under another name
audit            results that today's code would not make again
machine          which machine this is      progress    what is shown meanwhile
tracking         what trackers are told
plan             what is left to train: programs, tokens, FLOPs, memory, time
"""
