"""Named sizes of variants."""

from collections.abc import Mapping
from typing import TypeVar

from arch.registry import ConfigurationError

Sizes = TypeVar("Sizes")


def sized(variant: str, size: str, sizes: Mapping[str, Sizes]) -> Sizes:
    """The numbers of a size. Raises ConfigurationError that lists the sizes there are."""
    if size not in sizes:
        raise ConfigurationError(f"{variant} size {size!r}: allowed are {', '.join(sizes)}")
    return sizes[size]
