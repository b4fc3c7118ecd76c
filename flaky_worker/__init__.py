"""The bundled worker: registers itself, works visibly, then fails in a way you choose."""
