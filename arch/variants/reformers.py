"""Reformers: hashed attention in reversible stacks."""

from collections.abc import Mapping
from typing import Any

from arch.variants.encoder_decoders import encoder_decoder
from arch.variants.sizes import sized

# Kitaev et al. 2020: size → order, width, inner width, heads. `s` is LSH attention, `l` local.
REFORMER = {
    "duplicate": ("sf", 256, 256, 4),
    "enwik8": ("(sf)12", 1024, 4096, 8),
    "enwik8-released": ("(lflfsflf)3", 1024, 4096, 8),
    "wmt-base": ("(scf)6", 512, 2048, 8),
    "wmt-big": ("(scf)6", 1024, 4096, 16),
}


def reformer(
    size: str = "enwik8", attention: Mapping | None = None, **model: Any
) -> dict[str, object]:
    """LSH attention in a reversible stack whose streams are concatenated, axial positions, a
    feed-forward in chunks. For translation the paper keeps full attention. `attention` goes to the
    LSH letters."""
    order, width, inner, heads = sized("reformer", size, REFORMER)
    stack = {"kind": "reversible", **model.pop("stack", {})}
    if size.startswith("wmt"):
        return encoder_decoder(
            "(sf)6", order, width, heads, {"inner_width": inner}, stack=stack, **model
        )
    released = size == "enwik8-released"
    hashes = {"chunk": 256, "buckets": (16, 32)} if released else {"chunk": 64, "rounds": 4}
    letters = {"s": {"kind": "lsh_attention", "heads": heads, **hashes, **(attention or {})}}
    if "l" in order:
        letters["l"] = {"kind": "local_attention", "heads": heads, "chunk": 128, "bias": False}
    return {
        "family": "decoder",
        "width": width,
        "order": order,
        "embedding": {"positions": "axial", "scale": False},
        "head": {"tie": False},
        **model,
        "stack": {"merge": "concatenate", **stack},
        "sublayers": {
            **letters,
            "f": {
                "kind": "feed_forward",
                "inner_width": inner,
                "chunk": 0 if inner == width else 512,
            },
            **model.get("sublayers", {}),
        },
    }
