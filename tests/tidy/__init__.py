"""The architecture and the style of the source, held as tests."""
