"""A name that must be one of those there."""

from collections.abc import Iterable

from arch.registry import ConfigurationError, suggestion


def known(name: str, there: Iterable[str], where: str, flag: str = "--name") -> str:
    """The name, which must be one of those there; else ConfigurationError says which there are."""
    there = sorted(there)
    if name not in there:
        raise ConfigurationError(
            f"{flag}={name}: not in {where}, which has {', '.join(there) or 'nothing yet'}"
            f"{suggestion(name, there)}"
        )
    return name
