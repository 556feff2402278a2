"""`torch`: a decoder as one writes it in PyTorch, with its fused attention."""

import functools
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from arch.bench.peers.sizes import Sizes
from arch.bench.peers.training import adamw, next_token_loss

ACTIVATIONS = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "gelu_tanh": functools.partial(functional.gelu, approximate="tanh"),
    "silu": functional.silu,
}


class Layer(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)); one projection for q, k and v."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        width, bias = sizes.width, sizes.bias
        self.heads, self.activation = sizes.heads, ACTIVATIONS[sizes.activation]
        self.norm_attention, self.norm_feed_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)
        self.wide = nn.Linear(width, sizes.inner, bias=bias)
        self.narrow = nn.Linear(sizes.inner, width, bias=bias)

    def forward(self, x: Any) -> Any:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.transpose(1, 3).unbind(2)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.narrow(self.activation(self.wide(self.norm_feed_forward(x))))


class Decoder(nn.Module):
    """Token table, learned positions, layers, norm, the table again."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.tokens = nn.Embedding(sizes.vocabulary, sizes.width)
        self.positions = nn.Parameter(torch.zeros(sizes.length, sizes.width))
        own = [Layer(sizes) for _ in range(1 if sizes.shared else sizes.layers)]
        self.layers = nn.ModuleList(own)
        self.order = own * sizes.layers if sizes.shared else own
        self.norm = nn.LayerNorm(sizes.width)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, ids: Any) -> Any:
        x = self.tokens(ids) + self.positions
        for layer in self.order:
            x = layer(x)
        return self.norm(x) @ self.tokens.weight.T


def build(sizes: Sizes, path: str) -> tuple[Any, Any, Any]:
    """(module, (ids, targets) → loss, optimiser)."""
    model = Decoder(sizes)
    return model, next_token_loss(model), adamw(model, sizes)
