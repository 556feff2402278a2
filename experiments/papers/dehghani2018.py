"""Settings of Dehghani et al. 2018 (arXiv 1807.03819), as tensor2tensor has them. Data only."""

NAMES = {
    "lstm": "LSTM",
    "transformer": "Transformer",
    "ut": "Universal Transformer",
    "ut_act": "Universal Transformer, ACT",
}


def adam(width):
    """Adam with a rate of 2 · width^-½ · step^-½ after 8000 steps of linear warm-up."""
    return {
        "name": "adamw",
        "learning_rate": 2.0 * width**-0.5 * 8000**-0.5,
        "beta2": 0.997,
        "epsilon": 1e-9,
        "schedule": "rsqrt",
        "warmup_steps": 8000,
    }
