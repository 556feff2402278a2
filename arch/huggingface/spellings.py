"""Options that have several spellings of one meaning are given one, to be compared and written."""

from collections.abc import Callable
from typing import Any

from arch.sublayers.state_space.mamba2 import head_width_for

Binding = dict[str, Any]


def unify(binding: Binding, width: int) -> None:
    """Changes a letter's filled options in place, in a model of that width."""
    if binding["kind"] in SPELLINGS:
        SPELLINGS[binding["kind"]](binding, width)


def _feed_forward(binding: Binding, width: int) -> None:
    binding["inner_width"] = binding["inner_width"] or round(binding["expand"] * width)
    binding["expand"] = 4.0


def _attention(binding: Binding, width: int) -> None:
    binding["kv_heads"] = 0 if binding["kv_heads"] == binding["heads"] else binding["kv_heads"]
    if binding["heads"] * binding["head_width"] == width:
        binding["head_width"] = 0


def _mamba(binding: Binding, width: int) -> None:
    binding["rank"] = binding["rank"] or -(-width // 16)


def _mamba2(binding: Binding, width: int) -> None:
    inner = round(binding["expand"] * width)
    binding["head_width"] = head_width_for(binding["head_width"], inner)


def _rwkv4(binding: Binding, width: int) -> None:
    binding["inner_width"] = binding["inner_width"] or width


def _channel_mix(binding: Binding, width: int) -> None:
    binding["expand"] = round(binding["expand"] * width) / width


SPELLINGS: dict[str, Callable[[Binding, int], None]] = {
    "feed_forward": _feed_forward,
    "mixture_of_experts": _feed_forward,
    "attention": _attention,
    "mamba": _mamba,
    "mamba2": _mamba2,
    "rwkv4": _rwkv4,
    "rwkv_channel_mix": _channel_mix,
}
