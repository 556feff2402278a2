"""Every plug point's registry."""

from arch.models.embeddings.embedding import embeddings
from arch.models.heads import heads
from arch.optimizers import optimizers
from arch.registry import stacks, sublayers, tasks
from arch.report.trackers import TRACKERS
from arch.sweeps.executors import EXECUTORS

REGISTRIES = (sublayers, stacks, tasks, embeddings, heads, optimizers, EXECUTORS, TRACKERS)
