"""Tests with real processes, real signals and real ZooKeeper servers."""
