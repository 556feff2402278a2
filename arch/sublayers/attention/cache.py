"""Keys and values of the tokens before a decoding step. They lie heads first, as the products with
them take them: turned at every step, they would be copied whole for every token."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int


class KeysValues(NamedTuple):
    """The keys and the values of some places."""

    k: Float[Array, "batch kv_heads keys head_width"]
    v: Float[Array, "batch kv_heads keys head_width"]

    @classmethod
    def empty(cls, batch: int, heads: int, room: int, width: int, dtype: DTypeLike) -> "KeysValues":
        """Room for so many places, all zeros."""
        zeros = jnp.zeros((batch, heads, room, width), dtype)
        return cls(zeros, zeros)

    @classmethod
    def of(
        cls,
        k: Float[Array, "batch keys kv_heads head_width"],
        v: Float[Array, "batch keys kv_heads head_width"],
    ) -> "KeysValues":
        """Of keys and values as sublayers compute them."""
        return cls(k.swapaxes(1, 2), v.swapaxes(1, 2))

    @property
    def room(self) -> int:
        """The number of places."""
        return self.k.shape[2]

    def put(self, new: "KeysValues", at: Int[Array, ""]) -> "KeysValues":
        """With other places in those from `at` on."""
        return KeysValues(
            jax.lax.dynamic_update_slice_in_dim(self.k, new.k, at, axis=2),
            jax.lax.dynamic_update_slice_in_dim(self.v, new.v, at, axis=2),
        )

    def given(
        self,
    ) -> tuple[
        Float[Array, "batch keys kv_heads head_width"],
        Float[Array, "batch keys kv_heads head_width"],
    ]:
        """(keys, values) as `dot_product.attend` takes them."""
        return self.k.swapaxes(1, 2), self.v.swapaxes(1, 2)
