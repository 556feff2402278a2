"""Tasks whose training examples are put into buckets by length: a step takes one bucket's."""

import abc
import dataclasses
from typing import Any

import jax
from jaxtyping import Array, Int, Key

from arch.data.batches.buckets import BucketSchedule
from arch.tasks.contract import BatchSource, Task


@dataclasses.dataclass(frozen=True)
class Bucket(BatchSource):
    """The batches of one bucket.

    schedule: which bucket each step takes. place: of this one among the buckets. share: sequences
    of a step for each of `train.batch`. size: examples in the bucket.
    """

    schedule: BucketSchedule
    place: int
    share: int
    size: int

    def sequences(self, batch: int) -> int:
        """How many examples a step of this bucket has."""
        return batch * self.share

    def indices(
        self, key: Key[Array, ""], step: Int[Array, ""], batch: int
    ) -> Int[Array, " sequences"]:
        """Which of the bucket's examples the step takes; none comes again before all have."""
        return self.schedule.indices(key, step, self.place, self.sequences(batch), self.size)

    def gather(self, source: Any, indices: Int[Array, "*n"]) -> Any:
        """The bucket's examples at the indices; source: a tree of arrays for each bucket."""
        return jax.tree.map(lambda a: a[indices], source[self.place])


class Bucketed(Task):
    """A task whose steps take turns among buckets, in a fixed order that mixes them evenly."""

    @property
    @abc.abstractmethod
    def schedule(self) -> BucketSchedule:
        """Which bucket a step takes: the same for every seed and batch."""

    @property
    @abc.abstractmethod
    def batches(self) -> tuple[Bucket, ...]:
        """The buckets, from the shortest."""

    def batch_at(self, step: Int[Array, ""]) -> Int[Array, ""]:
        """The place of the bucket that a step takes."""
        return self.schedule.bucket(step)

    def indices(self, key: Key[Array, ""], step: Int[Array, ""], batch: int) -> Int[Array, " n"]:
        """Of the shortest bucket."""
        return self.batches[0].indices(key, step, batch)

    def gather(self, source: Any, indices: Int[Array, "*n"]) -> Any:
        """Of the shortest bucket."""
        return self.batches[0].gather(source, indices)
