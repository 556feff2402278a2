"""Wrong answers in percent, and how many tasks count as failed."""

from collections.abc import Mapping, Sequence

from jaxtyping import Array, Bool, Float, Int

from arch.tasks import objective
from arch.tasks.contract import Sums

FAILED = 5.0  # percent of wrong answers above which a task counts as failed (Weston et al. 2015)
OF_TASK = "accuracy_task_"


def accuracies(
    right: Bool[Array, " batch"],
    of: Int[Array, " batch"],
    real: Float[Array, " batch"],
    tasks: Sequence[int],
) -> Sums:
    """The accuracy of each task, where there are several. of: the task of each question."""
    if len(tasks) == 1:
        return {}
    among = {task: (of == task) * real for task in tasks}
    return {
        f"{OF_TASK}{task:02}": objective.share(right, weights) for task, weights in among.items()
    }


def figures(means: Mapping[str, float], count: int) -> dict[str, object]:
    """Loss in nats an answer and the percentage of wrong answers; with several tasks also of how
    many it exceeds 5."""
    found: dict[str, object] = {
        "loss": means["loss"],
        "error_percent": 100 * (1 - means["accuracy"]),
        "unit": "answer",
        "questions": count,
    }
    by_task = [means[name] for name in means if name.startswith(OF_TASK)]
    if by_task:
        found["failed_tasks"] = sum(100 * (1 - value) > FAILED for value in by_task)
    return found
