"""Tests of how workers are asked for their health."""
