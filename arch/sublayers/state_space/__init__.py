"""Sublayers with a state of fixed size: selective state spaces and the gated delta rule.

A file per kind, the recurrences in `chunks.py`, the parts around them in `parts.py`. A recurrence
is written once: training runs it over chunks of many positions, a decoding step over one.
"""
