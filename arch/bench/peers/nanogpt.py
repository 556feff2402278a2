"""`nanogpt:PATH`: Karpathy's nanoGPT, its model.py and its optimiser, from a checkout."""

import importlib.util
from pathlib import Path
from typing import Any

from arch.bench.peers.sizes import Sizes


def build(sizes: Sizes, path: str) -> tuple[Any, Any, Any]:
    """(module, (ids, targets) → loss, optimiser)."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", Path(path) / "model.py")
    assert spec is not None and spec.loader is not None  # a path that ends in .py has both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.GPT(
        module.GPTConfig(
            block_size=sizes.length,
            vocab_size=sizes.vocabulary,
            n_layer=sizes.layers,
            n_head=sizes.heads,
            n_embd=sizes.width,
            dropout=0.0,
            bias=sizes.bias,
        )
    )
    optimizer = model.configure_optimizers(
        sizes.weight_decay, sizes.learning_rate, (sizes.beta1, sizes.beta2), "cpu"
    )
    return model, lambda ids, targets: model(ids, targets)[1], optimizer
