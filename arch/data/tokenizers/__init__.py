"""Text to integers and back. contract.py says what a tokenizer is; kinds.py finds one by its spec.

They learn from a corpus's training split; the arrays they make are kept by `arch.data.dataset`.
"""
