"""Ask workers how they are, and listen to what they say of themselves; answers become facts, changes only."""
