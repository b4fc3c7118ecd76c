"""The figures in the README, each reproducible with one command."""
