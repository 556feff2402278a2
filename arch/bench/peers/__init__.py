"""The libraries that ours is measured beside: kinds.py lists them, sizes.py says what is built.

A peer's file has `build(sizes, path)`, which gives module, loss and optimiser in PyTorch; worker.py
is the process that trains it, generating.py the one that makes text by its `continued`. Nothing
outside this folder imports PyTorch, and nothing here jax.
"""
