"""`verify`: train again from the older kept checkpoint to the newer, and compare bits."""

from arch.commands import flags
from arch.commands.answers import answer
from arch.notebook import run as notebook
from arch.report.seeds import seed_fields


def run(command: flags.Verify) -> int:
    """Print a line a seed; exit code 1 where a bit differs."""
    worst = 0.0
    for loaded in notebook.load_runs(command.directory, command.trust):
        first, last, difference = loaded.replay()
        worst = max(worst, difference)
        if command.json:
            span = {**seed_fields(loaded.seed), "first": first, "last": last}
            answer({**span, "equal": difference == 0, "largest_difference": difference})
            continue
        what = "bit-equal" if difference == 0 else f"largest difference {difference:.3g}"
        print(f"seed {loaded.seed}: steps {first} to {last} replayed: {what}")
    return 0 if worst == 0 else 1
