"""Unit tests of what speaks ZooKeeper."""
