"""The outer data plane: nodes and the conductor of a round, on Flower."""
