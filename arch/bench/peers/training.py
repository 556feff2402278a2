"""The loss and the optimiser of the peers that bring none."""

from collections.abc import Callable
from typing import Any

import torch  # pyright: ignore[reportMissingImports]

from arch.bench.peers.sizes import Sizes


def adamw(model: Any, sizes: Sizes) -> Any:
    """PyTorch's fused AdamW, which decays matrices alone, as ours does."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": sizes.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=sizes.learning_rate,
        betas=(sizes.beta1, sizes.beta2),
        eps=sizes.epsilon,
        fused=True,
    )


def next_token_loss(logits: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """(ids, targets) → the mean cross-entropy of the logits of ids, in nats."""

    def loss(ids: Any, targets: Any) -> Any:
        rows = logits(ids)
        return torch.nn.functional.cross_entropy(
            rows.reshape(-1, rows.shape[-1]), targets.reshape(-1)
        )

    return loss
