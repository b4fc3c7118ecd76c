"""Whether the embedded server is what it says: ZooKeeper, to other people's clients and tests.

See `docs/conformance.md`.
"""
