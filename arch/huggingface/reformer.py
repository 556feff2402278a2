"""The rules of Reformer's configuration that no table holds; its tables stand in reformer_rules.py.

The LSH layers of such a model are not causal, as transformers computes them: see `causally`. Other
differences from transformers:

- The head's bias is added. transformers before 5 added `lm_head.bias`; 5.0 to 5.23 kept it and
  added nothing; from 5.24 on `lm_head.decoder.bias` alone is added, which is 0 where a file lacks
  it. Both are written. Where a file has both, `lm_head.decoder.bias` counts, and the other may
  differ (training in 5.24 leaves it at 0); where it has one, that one counts.
- Rotations are drawn from the context's key, or from `hash_seed` where there is one; by another
  generator than PyTorch's, so that they are other ones.
- A length that is no multiple of a chunk is padded for each kind of layer by itself; transformers
  pads it for all layers, to a multiple of both chunks.

Differences in training: transformers applies dropout inside the feed-forward before the activation
(the same with relu), to tokens and positions separately (to whole columns of axial positions), and
again after the final norm. Here dropout applies to the activations, and to the sum of tokens and
positions.
"""

import copy
import math
import re
from collections.abc import Mapping
from typing import Any

from arch import order as orders
from arch.huggingface.family import Parts, Values
from arch.models.embeddings import axial
from arch.registry import ConfigurationError
from arch.sublayers.attention import hashing

LETTERS = {"local": "s", "lsh": "l"}  # of attn_layers
BINDINGS = {
    "s": {"kind": "local_attention", "bias": False},
    "l": {
        "kind": "lsh_attention",
        "bias": False,
        "key_norm": "rms",
        "attend_across_buckets": True,
        "remove_duplicates": False,
    },
    "f": {"kind": "feed_forward"},
}
DEFAULTS: Values = {
    "vocab_size": 320, "attn_layers": ("local", "lsh") * 3, "max_position_embeddings": 4096,
    "is_decoder": False, "hidden_size": 256, "num_attention_heads": 12,
    "attention_head_size": 64, "feed_forward_size": 512, "chunk_size_feed_forward": 0,
    "hidden_act": "relu", "hidden_dropout_prob": 0.05, "axial_pos_embds": True,
    "axial_pos_shape": (64, 64), "axial_pos_embds_dim": (64, 192),
    "local_attention_probs_dropout_prob": 0.05, "local_attn_chunk_length": 64,
    "local_num_chunks_before": 1, "local_num_chunks_after": 0,
    "lsh_attention_probs_dropout_prob": 0.0, "lsh_attn_chunk_length": 64,
    "lsh_num_chunks_before": 1, "lsh_num_chunks_after": 0, "num_hashes": 1, "num_buckets": (),
    "hash_seed": (),  # or one number
    "initializer_range": 0.02, "layer_norm_eps": 1e-12,
}  # fmt: skip
CAUSAL = {"attend_across_buckets": False, "remove_duplicates": True, "before": 1, "after": 0}


def start(values: Values, parts: Parts) -> tuple[dict[str, Any], Values]:
    """(the part of `model` that no field sets, the values with automatic ones filled in).

    Raises ConfigurationError, naming the attribute, for what transformers, or this code, cannot
    compute.
    """
    kinds = values["attn_layers"]
    unknown = [kind for kind in kinds if kind not in LETTERS]
    if unknown or not kinds:
        raise ConfigurationError(
            f"attn_layers={list(kinds)}: {unknown[0] if unknown else 'none'!r} is no attention; "
            f"known are {', '.join(LETTERS)}"
        )
    _check_neighbours(values)
    values = {**values, "num_buckets": _buckets(values)}
    seed = _hash_seed(values)
    embedding = {"positions": "learned", "scale": False}
    if values["axial_pos_embds"]:
        _check_axial(values)
        embedding["positions"] = "axial"
        embedding["axial_shape"] = values["axial_pos_shape"]
        embedding["axial_widths"] = values["axial_pos_embds_dim"]
    used = {*(LETTERS[kind] for kind in kinds), "f"}
    letters = {letter: dict(BINDINGS[letter]) for letter in BINDINGS if letter in used}
    if seed >= 0 and "l" in letters:
        letters["l"]["hash_seed"] = seed
    model = {
        "family": "decoder" if values["is_decoder"] else "encoder",
        "order": orders.compress("".join(f"{LETTERS[kind]}f" for kind in kinds)),
        "sublayers": letters,
        "embedding": embedding,
        "stack": {"kind": "reversible", "merge": "concatenate"},
        "head": {"kind": "softmax", "tie": False, "bias": True},
    }
    return model, values


def _check_neighbours(values: Values) -> None:
    for kind in sorted(set(values["attn_layers"])):
        before, after = (values[f"{kind}_num_chunks_{side}"] for side in ("before", "after"))
        if values["is_decoder"] and after:
            raise ConfigurationError(
                f"{kind}_num_chunks_after={after}: allowed is 0 with is_decoder=True"
            )
        if kind == "local" and not values["is_decoder"] and (before or after):
            side, chunks = ("before", before) if before else ("after", after)
            raise ConfigurationError(
                f"local_num_chunks_{side}={chunks}: allowed is 0 with is_decoder=False, where the "
                "first chunk sees the last one, which local attention here does not"
            )


def _check_axial(values: Values) -> None:
    for attribute, total, of, name in (
        ("axial_pos_shape", math.prod, "the product", "max_position_embeddings"),
        ("axial_pos_embds_dim", sum, "the sum", "hidden_size"),
    ):
        pair = values[attribute]
        if len(pair) != 2 or min(pair) < 1:
            raise ConfigurationError(
                f"{attribute}={list(pair)}: allowed are two whole numbers from 1 on"
            )
        if total(pair) != values[name]:
            raise ConfigurationError(
                f"{attribute}={list(pair)}: {of} is {total(pair)}; allowed is {values[name]}, "
                f"as {name} says"
            )


def _buckets(values: Values) -> tuple[int, ...]:
    """Numbers of buckets. Null stands for a power of 2 near two buckets per chunk, in two factors
    where that is many; transformers counts the chunks of the first sequence, this of the longest.
    """
    given, chunk = values["num_buckets"], values["lsh_attn_chunk_length"]
    if any(type(n) is not int or n < 2 or n % 2 for n in given):
        raise ConfigurationError(
            f"num_buckets={list(given)}: allowed are null, an even number from 2 on, and a list of "
            "such factors"
        )
    if given or "lsh" not in values["attn_layers"]:
        return given
    chunks = values["max_position_embeddings"] // chunk
    power = max(1, (2 * chunks).bit_length() - 1)
    if 2**power <= 2 * max(math.isqrt(chunks), chunk):
        return (2**power,)
    return 2 ** (power // 2), 2 ** (power - power // 2)


def _hash_seed(values: Values) -> int:
    """-1 for none."""
    given = values["hash_seed"]
    if len(given) > 1 or any(type(n) is not int or not 0 <= n < 2**31 for n in given):
        raise ConfigurationError(
            f"hash_seed={list(given)}: allowed are null and one whole number from 0 to 2³¹ - 1"
        )
    return given[0] if given else -1


def example(filled: Mapping) -> Values:
    """Values with the same letters, to compare kinds with.

    Raises ConfigurationError for an order that no Reformer has.
    """
    order = orders.expand(filled["order"])
    if not re.fullmatch("([sl]f)+", order):
        raise ConfigurationError(
            f"model.order={filled['order']!r}: a checkpoint of reformer has a letter l (LSH "
            "attention) or s (local attention) before each f"
        )
    kinds = {letter: kind for kind, letter in LETTERS.items()}
    own = {
        "attn_layers": tuple(kinds[letter] for letter in order[::2]),
        "is_decoder": filled["family"] == "decoder",
        "axial_pos_embds": False,
        "local_num_chunks_before": 0,
    }
    return {**DEFAULTS, **own}


def explicit(filled: dict, max_length: int) -> dict:
    """The filled model with all automatic choices written out."""
    filled = copy.deepcopy(filled)
    for binding in filled["sublayers"].values():
        if binding["kind"] in ("local_attention", "lsh_attention"):
            binding["head_width"] = binding["head_width"] or filled["width"] // binding["heads"]
        if binding["kind"] == "lsh_attention":
            automatic = hashing.buckets_for(max_length, binding["chunk"])
            binding["buckets"] = tuple(binding["buckets"]) or automatic
    embedding = filled["embedding"]
    if embedding["positions"] == "axial":
        shape, widths = tuple(embedding["axial_shape"]), tuple(embedding["axial_widths"])
        embedding["axial_shape"] = axial.shape_for(shape, max_length)
        embedding["axial_widths"] = axial.widths_for(widths, filled["width"])
    return filled


def own_values(mine: Mapping[str, Any]) -> Values:
    """The values of a flat explicit model that no field sets."""
    seed = mine.get("sublayers.l.hash_seed", -1)
    own: Values = {"hash_seed": (seed,) if seed >= 0 else ()}
    if mine["embedding.positions"] != "axial":
        return {**own, "axial_pos_embds": False}
    shape, widths = mine["embedding.axial_shape"], mine["embedding.axial_widths"]
    return {
        **own,
        "axial_pos_embds": True,
        "axial_pos_shape": shape,
        "axial_pos_embds_dim": widths,
        "max_position_embeddings": math.prod(shape),  # the table may have room for more
    }


def causally(model: Mapping[str, Any]) -> dict[str, Any]:
    """A decoder with the same parameters whose LSH attention is causal; the model itself if it has
    no LSH attention, or is no decoder.

    In the checkpoint's model, later positions move the borders of the chunks, and thereby what a
    position sees. Here a position sees its own bucket only, one chunk back, and counts a pair that
    several rounds put together once. So the results differ from those of transformers.
    """
    if model["family"] != "decoder":
        return dict(model)
    letters = {
        letter: {**binding, **CAUSAL} if binding["kind"] == "lsh_attention" else binding
        for letter, binding in model["sublayers"].items()
    }
    return {**model, "sublayers": letters}
