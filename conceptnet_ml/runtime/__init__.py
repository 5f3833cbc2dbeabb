"""Where and how the work runs.

devices   prepare, choose_device, autocast, environment: devices, precision, threads, memory
device_names  check_device_name: which names of devices there are, without torch
seeding   seed_for, generator: the random numbers of one item of a run
progress  Progress: what is being done, and for how long yet
layout    memory_format, measured, is_narrow: memory format and precision, measured once for each device
signals   Stopper: Ctrl-C in two steps
ranks     united, first, deal, add_up, RankStopper, ...: several processes at work on one run
code      sources: a checksum of the program
"""
