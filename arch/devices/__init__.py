"""What depends on the machine that a program is compiled for.

mesh  the devices as replica × data × fsdp × tensor     sharding  what lies where, by rules
topologies  devices that are not here     chips  what they can     hlo  what a program moves
cudnn  the library of fused attention
compilation_cache  compiled programs kept between processes
"""
