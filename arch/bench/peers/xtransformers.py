"""`x-transformers`: its decoder with fused attention."""

from typing import Any

from torch import nn  # pyright: ignore[reportMissingImports]
from x_transformers import Decoder, TransformerWrapper  # pyright: ignore[reportMissingImports]

from arch.bench.peers.sizes import Sizes
from arch.bench.peers.training import adamw, next_token_loss

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
}


def build(sizes: Sizes, path: str) -> tuple[Any, Any, Any]:
    """(module, (ids, targets) → loss, optimiser)."""
    layers = Decoder(
        dim=sizes.width,
        depth=sizes.layers,
        heads=sizes.heads,
        attn_dim_head=sizes.width // sizes.heads,
        attn_flash=True,
        weight_tie_layers=sizes.shared,
        ff_mult=sizes.inner / sizes.width,
        ff_no_bias=not sizes.bias,
        ff_custom_activation=ACTIVATIONS[sizes.activation],
    )
    model = TransformerWrapper(
        num_tokens=sizes.vocabulary,
        max_seq_len=sizes.length,
        tie_embedding=True,
        attn_layers=layers,
    )
    return model, next_token_loss(model), adamw(model, sizes)
