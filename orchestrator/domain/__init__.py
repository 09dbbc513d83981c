"""The pure core of the control plane: no I/O, no clock, no randomness."""
