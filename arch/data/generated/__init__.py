"""Examples of algorithms, sentences and sounds, made on the device as pure functions of a key, and
programs with what they print, made on the host from a seed; nothing is read.

How they are shown to a model, and how it is scored, is in `arch.tasks`.
"""
