"""What the cells of an experiment differ in, as `describe` and `sweep --dry-run` print it."""

from collections.abc import Iterator, Mapping

from arch.config import differences, said_differences
from arch.registry import Config


def arm_lines(baseline: str, configs: Mapping[str, Config]) -> Iterator[str]:
    """A line for each cell: the fields in which its configuration differs from the baseline's,
    which is among them."""
    for name, config in configs.items():
        if name != baseline:
            found = differences(configs[baseline], config)
            said = said_differences(found) or "nothing: one and the same run"
            yield f"{name} differs from {baseline} in: {said}"
