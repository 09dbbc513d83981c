"""The sub-commands of `collegium`; everything slow is imported when a command runs, not with it."""
