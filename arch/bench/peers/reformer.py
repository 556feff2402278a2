"""`hf-reformer`: Hugging Face's Reformer, hashed attention in a reversible stack.

Its logits are not causal (see `arch.huggingface.reformer`), which costs nothing either way.
"""

from typing import Any

from transformers import (  # pyright: ignore[reportMissingImports]
    ReformerConfig,
    ReformerModelWithLMHead,
)

from arch.bench.peers.gpt2 import ACTIVATIONS
from arch.bench.peers.sizes import Sizes
from arch.bench.peers.training import adamw, next_token_loss


def build(sizes: Sizes, path: str) -> tuple[Any, Any, Any]:
    """(module, (ids, targets) → loss, optimiser).

    Two buckets a chunk, as ours has by default.
    """
    config = ReformerConfig(
        vocab_size=sizes.vocabulary,
        max_position_embeddings=sizes.length,
        hidden_size=sizes.width,
        attn_layers=["lsh"] * sizes.layers,
        num_attention_heads=sizes.heads,
        attention_head_size=sizes.width // sizes.heads,
        feed_forward_size=sizes.inner,
        hidden_act=ACTIVATIONS[sizes.activation],
        num_hashes=sizes.rounds,
        lsh_attn_chunk_length=sizes.chunk,
        num_buckets=2 * max(1, sizes.length // sizes.chunk),
        chunk_size_lm_head=0,
        chunk_size_feed_forward=sizes.slice,
        axial_pos_embds=False,
        hidden_dropout_prob=0.0,
        lsh_attention_probs_dropout_prob=0.0,
        is_decoder=True,
        use_cache=False,
    )
    model = ReformerModelWithLMHead(config)
    return model, next_token_loss(lambda ids: model(ids).logits), adamw(model, sizes)
