"""Which tokens make a batch: pure functions of a key, run on the device.

What is to be learned from a batch is a task's: see `arch.tasks`.
"""
