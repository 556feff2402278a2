"""The sizes of a decoder and of its training, as they are told to a peer's process."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """A pre-norm decoder of `layers` × (attention, feed-forward), trained by AdamW with float32
    parameters.

    Attributes:
        shared: whether the layers have the same weights.
        inner: width between the two projections of a feed-forward.
        activation: relu | gelu (exact) | gelu_tanh | silu.
        bias: whether projections and norms have biases, where the peer leaves a choice.
        rounds, chunk: of hashed attention; 0 where attention is full.
        dtype: float32 | bfloat16, of the products.
        slice: positions that a feed-forward computes at a time; 0 for all.
        clip: largest global norm of the gradient; 0 for no clipping.
    """

    layers: int
    width: int
    heads: int
    inner: int
    length: int
    batch: int
    vocabulary: int
    activation: str
    dtype: str
    bias: bool
    shared: bool
    rounds: int
    chunk: int
    slice: int
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip: float
