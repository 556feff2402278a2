"""What runs leave on this machine, and read again: their folders, checkpoints (the only import of
orbax) and where a result comes from. What is committed of results is in `arch.report`."""
