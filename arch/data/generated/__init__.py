"""Examples of algorithms, made on the device as pure functions of a key; nothing is read.

How they are shown to a model, and how it is scored, is in `arch.tasks.algorithmic`.
"""
