"""Deterministic simulation: the production core, loop and executor on virtual time, in a world of seeded faults."""
