"""The chips that a program can be planned for, and what their makers say of them: data only."""

from typing import NamedTuple

from arch.registry import ConfigurationError, suggestion


class Chip(NamedTuple):
    """One chip.

    Args:
        platform: gpu | tpu.
        flops: dense bfloat16 products, FLOP/s.
        memory: bytes.
        bandwidth: of its memory, bytes/s.
        interconnect: to all other chips of its slice or node together, one way, bytes/s.
        source: where the figures stand.
    """

    platform: str
    flops: float
    memory: float
    bandwidth: float
    interconnect: float
    source: str


GOOGLE = "Google Cloud TPU documentation, system architecture of this version (tpu/docs/v5e, …)"
CHIPS = {
    "v5e": Chip("tpu", 197e12, 16 * 2**30, 819e9, 200e9, GOOGLE),
    "v5p": Chip("tpu", 459e12, 95 * 2**30, 2765e9, 600e9, GOOGLE),
    "v6e": Chip("tpu", 918e12, 32 * 2**30, 1640e9, 448e9, GOOGLE),
    "h100": Chip("gpu", 989.4e12, 80e9, 3352e9, 450e9, "NVIDIA H100 datasheet, SXM5"),
    "h200": Chip("gpu", 989.4e12, 141e9, 4800e9, 450e9, "NVIDIA H200 datasheet, SXM5"),
    "a100": Chip("gpu", 312e12, 80e9, 2039e9, 300e9, "NVIDIA A100 datasheet, SXM4 80 GB"),
}


def chip(topology: str) -> tuple[str, Chip, tuple[int, ...]]:
    """(name, chip, shape) of a topology such as 'v5e:4x4' or 'h100:1x1x8': for TPUs the shape of
    the slice, for GPUs slices × hosts × devices.

    Raises ConfigurationError for an unknown chip or no shape.
    """
    name, _, text = topology.partition(":")
    if name not in CHIPS:
        raise ConfigurationError(
            f"--topology={topology}: no such chip; there are {', '.join(CHIPS)}"
            f"{suggestion(name, CHIPS)}"
        )
    parts, gpu = text.split("x"), CHIPS[name].platform == "gpu"
    if not all(p.isdigit() and int(p) for p in parts) or (gpu and len(parts) != 3):
        example = f"{name}:1x1x8, slices × hosts × devices" if gpu else f"{name}:4x4"
        raise ConfigurationError(f"--topology={topology}: expected a shape, such as {example}")
    return name, CHIPS[name], tuple(map(int, parts))
