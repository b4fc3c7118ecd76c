"""Tests of the flaky worker's pure part: the plan of its failure."""
