"""Attention: full, local, and by hashing."""
