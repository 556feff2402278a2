"""What was trained, or imported, for a notebook and the commands: `arch.load`."""
