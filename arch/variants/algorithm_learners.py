"""Encoders that learn algorithms position by position: the Neural GPU. Shuffle-Exchange networks,
which came after it, have a file of their own."""

from typing import Any


def neural_gpu(
    width: int = 96, layers: int = 2, kernel_size: int = 3, **model: Any
) -> dict[str, object]:
    """Convolutional gated units, `layers` of them a step and as many steps as there are symbols:
    order gˡ in the universal stack, no norms, no positions, tanh of an embedding within ±1.7.

    Kaiser and Sutskever 2016. Their state is an image of four columns of 24 channels, here one of
    96; dropout between steps, noise on gradients, the curriculum and weights that are shared only
    by and by are left out. For the task `algorithmic_bins`, whose strings were theirs first.
    """
    letter = {"kind": "cgru", "kernel_size": kernel_size, "cutoff": 1.2}
    return {
        "family": "encoder",
        "width": width,
        "order": f"g{layers}",
        "head": {"tie": False, "bias": True},
        **model,
        "sublayers": {"g": letter, **model.get("sublayers", {})},
        "stack": {
            "kind": "universal",
            "steps_per_symbol": 1,
            "step_signal": "none",
            "signal_each_step": False,
            "final_norm": False,
            **model.get("stack", {}),
        },
        "embedding": {
            "kind": "squashed",
            "factor": 1.0,
            "range": 1.7,
            "positions": "none",
            "scale": False,
            **model.get("embedding", {}),
        },
    }
