"""The tests of autohealer; the tree mirrors the code."""
