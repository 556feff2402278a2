"""What tasks made of separate examples share: they have no windows that slide over a stream."""

from arch.checks import one_of
from arch.registry import ConfigurationError


def made(task) -> str:
    """What a task that makes its examples of an algorithm says of itself."""
    return (
        f"{task.algorithm} in base {task.base}, made as it is needed; "
        f"{', '.join(task.splits)} of {task.evaluation_examples:,} examples"
    )


def check(settings, splits: tuple[str, ...]) -> None:
    """Refuse what such a task cannot evaluate.

    Args:
        settings: the `evaluate` section of a filled configuration.
        splits: those that the task has.

    Raises ConfigurationError for a window or stride, and for a split that is not there.
    """
    for name in ("window", "stride"):
        if settings[name]:
            raise ConfigurationError(
                f"evaluate.{name}={settings[name]}: allowed is 0; this task's examples are whole"
            )
    for split in settings["splits"]:
        one_of(splits, of="evaluate", splits=split)
