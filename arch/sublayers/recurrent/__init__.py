"""Recurrent sublayers: the classic cells, minimal ones that train in parallel, RWKV's mixers and
gated linear attention.

A cell is an equation for one position, in `cell.py`'s loop. A linear recurrence is written once,
in `scans.py`: training runs it over chunks of many positions, a decoding step over one.
"""
