"""Output files and proofs of identity."""
