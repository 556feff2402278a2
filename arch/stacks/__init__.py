"""Stacks run an order of sublayers in depth. parameters.py says whose weights are used where,
residual.py what surrounds a sublayer, depth.py how the positions are walked, block.py puts the
three together; then a file a kind. inverse.py is how the reversible one goes back."""

from arch.stacks import reversible, sequential, universal

__all__ = ["reversible", "sequential", "universal"]
