"""Sublayers, one file a kind: a map from a sequence to a sequence, without residual or norm.

To add one: a file here with a class decorated by `@sublayers.register('kind')`, imported below.
A file outside the package does as well: name it in the configuration's `plugins`.
"""

from arch.sublayers import (
    attention,
    benes,
    convolution,
    feed_forward,
    local_attention,
    lsh_attention,
    lstm,
)

__all__ = [
    "attention",
    "benes",
    "convolution",
    "feed_forward",
    "local_attention",
    "lsh_attention",
    "lstm",
]
