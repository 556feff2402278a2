"""Recurrent sublayers: the classic cells, minimal ones that train in parallel, RWKV's mixers and
gated linear attention.

The Neural GPU's unit recurs over depth: `cgru.py` is one step of it over all positions.

A cell is an equation for one position, in `cell.py`'s loop. A linear recurrence is written once,
in `scans.py`: training runs it over chunks of many positions, a decoding step over one.
"""
