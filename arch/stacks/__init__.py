"""Stacks run an order of sublayers in depth: the contract, and one file per kind.

schedule.py says whose weights are used where, parameters.py how they are stacked, residual.py what
surrounds a sublayer, depth.py how the positions are walked; block.py puts the four together.
inverse.py holds the two passes of the reversible stack, halting.py the halting of the universal
one. Sublayers themselves live in arch/sublayers.
"""

from arch.stacks import reversible, sequential, universal

__all__ = ["reversible", "sequential", "universal"]
