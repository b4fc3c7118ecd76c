"""Test tools: waiting for a fact, real ZooKeeper servers, components a test may require."""
