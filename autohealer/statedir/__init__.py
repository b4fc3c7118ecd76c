"""The state directory: made, checked, held and watched. Standard library only: every adapter may open files with it."""
