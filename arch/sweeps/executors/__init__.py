"""Who trains the jobs of a sweep: one file per kind, chosen by --executor from EXECUTORS.

contract  what an executor is     local      in this process    slurm  a job per cell, by submitit
cluster   what slurm, ray share   processes  a process per cell ray    a task per cell
orders    what a worker is told
"""

from arch.sweeps.executors.contract import EXECUTORS, Executor, check, chosen, named
from arch.sweeps.executors.local import Local
from arch.sweeps.executors.processes import Processes
from arch.sweeps.executors.ray import Ray
from arch.sweeps.executors.slurm import Slurm

__all__ = [
    "EXECUTORS",
    "Executor",
    "Local",
    "Processes",
    "Ray",
    "Slurm",
    "check",
    "chosen",
    "named",
]
