"""Who trains the jobs of a sweep: one file per kind, chosen by --executor from EXECUTORS.

contract  what an executor is     local  in this process     processes  a process per cell
"""

from arch.sweeps.executors.contract import EXECUTORS, Executor
from arch.sweeps.executors.local import Local
from arch.sweeps.executors.processes import Processes

__all__ = ["EXECUTORS", "Executor", "Local", "Processes"]
