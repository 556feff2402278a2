"""Experiments, and how their cells are trained: here, or in processes."""
