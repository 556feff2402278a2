"""Decoders whose memory is a state space or a matrix of fixed size: Mamba, Mamba-2, Gated
DeltaNet; and Jamba, in which attention and mixtures of experts join it."""

from typing import Any

from arch import order as orders
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
        "embedding": {**SIGNALS},
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
        "embedding": {**SIGNALS},
        "stack": {"norm_kind": "rms", "epsilon": 1e-6},
        "head": {"tie": False},
        **model,
        "sublayers": {**letters, **model.get("sublayers", {})},
    }


def jamba(
    layers: int = 32, width: int = 4096, heads: int = 32, experts: int = 16, **model: Any
) -> dict[str, object]:
    """(mfmemfme sfmemfme)ⁿ, n = layers / 8: a mixer, `m` Mamba or in the fifth of eight layers `s`
    attention, then `f` SwiGLU or in every second layer `e` a mixture of experts.

    Lieber et al. 2024: no positions, a quarter as many heads of keys and values, norms within
    Mamba, two experts a token whose weights are not renormalised, a head of its own, which starts
    at Glorot's uniform. The defaults are Jamba 0.1, of 52 billion parameters, 12 of them active.
    """
    mixers = ("s" if i % 8 == 4 else "m" for i in range(layers))
    order = "".join(mixer + "fe"[i % 2] for i, mixer in enumerate(mixers))
    plain = {"bias": False, "init_std": 0.02}
    swiglu = {"activation": "swiglu", "expand": 3.5, **plain}
    mixture = {"experts": experts, "active": 2, "renormalise": False, "balance": 0.001}
    letters = {
        "m": {"kind": "mamba", "selection_norm": True, "init_std": 0.02},
        "s": {"kind": "attention", "heads": heads, "kv_heads": max(1, heads // 4), **plain},
        "f": {"kind": "feed_forward", **swiglu},
        "e": {"kind": "mixture_of_experts", **mixture, **swiglu},
    }
    return {
        "family": "decoder",
        "width": width,
        "order": orders.compress(order),
        "embedding": {**SIGNALS},
        "stack": {"norm_kind": "rms", "epsilon": 1e-6},
        "head": {"tie": False},
        **model,
        "sublayers": {**letters, **model.get("sublayers", {})},
    }
