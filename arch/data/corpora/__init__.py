"""Text by name or from files, as documents in splits; pairs of languages; bAbI and LAMBADA.

Nothing here knows of tokens: those are made by `arch.data.dataset` and `arch.data.parallel`.
"""
