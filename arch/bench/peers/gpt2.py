"""`hf-gpt2`: Hugging Face's GPT-2, whose projections always have biases."""

from typing import Any

from transformers import GPT2Config, GPT2LMHeadModel  # pyright: ignore[reportMissingImports]

from arch.bench.peers.sizes import Sizes
from arch.bench.peers.training import adamw, next_token_loss

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "silu": "silu"}


def build(sizes: Sizes, path: str) -> tuple[Any, Any, Any]:
    """(module, (ids, targets) → loss, optimiser)."""
    config = GPT2Config(
        vocab_size=sizes.vocabulary,
        n_positions=sizes.length,
        n_embd=sizes.width,
        n_layer=sizes.layers,
        n_head=sizes.heads,
        n_inner=sizes.inner,
        activation_function=ACTIVATIONS[sizes.activation],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2LMHeadModel(config)
    return model, next_token_loss(lambda ids: model(ids).logits), adamw(model, sizes)


def continued(model: Any, ids: Any, tokens: int) -> None:
    """Goes on with ids for so many tokens, greedily, by `generate` and its cache."""
    mask = ids.new_ones(ids.shape)
    model.generate(
        ids,
        attention_mask=mask,
        do_sample=False,
        use_cache=True,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        pad_token_id=0,
    )
