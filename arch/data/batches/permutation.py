"""A random order of n things, one element at a time: nothing of size n is ever built."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

ROUNDS = 6


def shuffled(key: Key[Array, ""], positions: Int[Array, " batch"], n: int) -> Int[Array, " batch"]:
    """The elements that stand at these positions of an endless sequence of epochs, each a
    permutation of 0 … n - 1 of its own.

    A Feistel network over the next even power of two, walked until it falls below n (Black and
    Rogaway 2002). It is a bijection for any round function, so every epoch holds every element.
    """
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1

    def element(position):
        epoch, index = position // n, position % n
        keys = jax.random.bits(jax.random.fold_in(key, epoch), (ROUNDS,), jnp.uint32)

        def network(value):
            left, right = value >> half, value & low
            for i in range(ROUNDS):
                left, right = right, left ^ (_mix(right ^ keys[i]) & low)
            return (left << half) | right

        walked = jax.lax.while_loop(lambda v: v >= n, network, network(index.astype(jnp.uint32)))
        return walked.astype(jnp.int32)

    return jax.vmap(element)(positions)


def _mix(x: Int[Array, ""]) -> Int[Array, ""]:
    """A 32-bit finaliser with full avalanche (MurmurHash3's constants)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
