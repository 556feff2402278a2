"""Decoders whose memory is a state space or a matrix of fixed size: Mamba, Mamba-2, Gated
DeltaNet."""

from typing import Any

from arch.variants.sizes import sized

# size → layers, width
MAMBA = {
    "130m": (24, 768),
    "370m": (48, 1024),
    "790m": (48, 1536),
    "1.4b": (48, 2048),
    "2.8b": (64, 2560),
}
MAMBA2 = {
    "130m": (24, 768),
    "370m": (48, 1024),
    "780m": (48, 1536),
    "1.3b": (48, 2048),
    "2.7b": (64, 2560),
}
SIGNALS = {"positions": "none", "scale": False, "init_std": 0.02}  # of the embedding


def mamba(layers: int = 24, width: int = 768, size: str = "", **model: Any) -> dict[str, object]:
    """mⁿ: Mamba's sublayers alone, with RMSNorm before each and a tied head; what each adds to the
    stream starts at 1/√n of its size. A size of MAMBA stands for its layers and width."""
    if size:
        layers, width = sized("mamba", size, MAMBA)
    return of_states("mamba", layers, width, model)


def mamba2(layers: int = 24, width: int = 768, size: str = "", **model: Any) -> dict[str, object]:
    """mⁿ: Mamba-2's sublayers in the surroundings of `mamba`. A size of MAMBA2 stands for its
    layers and width."""
    if size:
        layers, width = sized("mamba2", size, MAMBA2)
    return of_states("mamba2", layers, width, model)


def of_states(kind: str, layers: int, width: int, model: dict[str, Any]) -> dict[str, object]:
    """A decoder of one kind of state space, with Mamba's surroundings."""
    return {
        "family": "decoder",
        "width": width,
        "order": f"m{layers}",
        "embedding": SIGNALS,
        "stack": {"norm_kind": "rms", "scale_output_init": True},
        **model,
        "sublayers": {"m": {"kind": kind}, **model.get("sublayers", {})},
    }


def gated_deltanet(
    layers: int = 21, width: int = 2048, heads: int = 6, multiple: int = 256, **model: Any
) -> dict[str, object]:
    """(df)ⁿ of the gated delta rule and SwiGLU, as flash-linear-attention has it: RMSNorm, no
    biases, no positions, normal(0.02) init, a head of its own, which starts at Glorot's uniform.
    The defaults are its configuration's.

    multiple: the inner width is 8/3 · width, rounded up to a multiple of this.
    """
    inner = -(-(8 * width // 3) // multiple) * multiple
    swiglu = {"kind": "feed_forward", "activation": "swiglu", "bias": False, "init_std": 0.02}
    letters = {
        "d": {"kind": "delta", "heads": heads, "init_std": 0.02},
        "f": {**swiglu, "inner_width": inner},
    }
    return {
        "family": "decoder",
        "width": width,
        "order": f"(df){layers}",
        "embedding": SIGNALS,
        "stack": {"norm_kind": "rms", "epsilon": 1e-6},
        "head": {"tie": False},
        **model,
        "sublayers": {**letters, **model.get("sublayers", {})},
    }
