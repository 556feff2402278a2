"""Options that cannot be are refused in one line: the field, its value, what is allowed.

    at_least(1, of="task", length=length)       task.length=0: allowed is 1 or more

`of`: the section that the options stand in; a sublayer's leaves it to the stack, which knows the
letter.
"""

from collections.abc import Collection, Mapping

from arch.registry import ConfigurationError, join


def at_least(least: float, meaning: str = "", /, *, of: str = "", **options: float) -> None:
    """Refuses options below `least`; `meaning`: what an option of that value stands for."""
    meant = f" ({meaning})" if meaning else ""
    for name, value in options.items():
        holds(value >= least, f"{least}{meant} or more", of=of, **{name: value})


def below_one(*, of: str = "", **rates: float) -> None:
    """Refuses rates that are negative, or leave nothing."""
    for name, value in rates.items():
        holds(0 <= value < 1, "0 to below 1", of=of, **{name: value})


def one_of(allowed: Collection[str], /, *, of: str = "", **options: str) -> None:
    """Refuses options that are none of the names."""
    for name, value in options.items():
        if value not in allowed:
            raise ConfigurationError(
                f"{join(of, name)}={value!r}: allowed are {', '.join(allowed)}"
            )


def holds(fine: object, allowed: str, /, *, of: str = "", **option: object) -> None:
    """Refuses the option unless `fine`; `allowed` says what would be."""
    if not fine:
        ((name, value),) = option.items()
        raise ConfigurationError(f"{join(of, name)}={value!r}: allowed is {allowed}")


def no_windows(settings: Mapping[str, int], reason: str) -> None:
    """Refuses `evaluate.window` and `evaluate.stride` for a task of whole examples."""
    for name in ("window", "stride"):
        holds(not settings[name], f"0; {reason}", of="evaluate", **{name: settings[name]})
