"""Mixtures of experts: mixture.py routes tokens and is the kind, blocks.py computes the experts'
products. Nothing here looks at the residual stream."""
