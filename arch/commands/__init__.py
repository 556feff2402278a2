"""The commands of launch.py: `flags` has every command's flags, the file of its name what it does.

contract  what a command is     from_flags  flags as the sweep they ask for     terminal  printing
answers   JSON for programs     arms  what cells differ in     kinds  what the registries hold
"""
