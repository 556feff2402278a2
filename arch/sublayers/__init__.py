"""Sublayers, one file per kind: a map from a sequence to a sequence, without residual or norm.

`contract.py` says what a kind promises. To add one: a file here with a class decorated by
`@sublayers.register('kind')`, imported below; or a file outside of the package, named in the
configuration's `plugins`.
"""

from arch.sublayers import convolution, feed_forward, fixed_window
from arch.sublayers.attention import full, local, lsh
from arch.sublayers.benes import network
from arch.sublayers.experts import mixture
from arch.sublayers.recurrent import cgru, gated_linear, gru, lstm, minimal, rwkv4, rwkv6
from arch.sublayers.state_space import delta, mamba, mamba2

__all__ = [
    "cgru",
    "convolution",
    "delta",
    "feed_forward",
    "fixed_window",
    "full",
    "gated_linear",
    "gru",
    "local",
    "lsh",
    "lstm",
    "mamba",
    "mamba2",
    "minimal",
    "mixture",
    "network",
    "rwkv4",
    "rwkv6",
]
