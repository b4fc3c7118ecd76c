"""The decider: facts in, plans out. Pure: standard library only, no clock, no I/O, no randomness."""
