"""How Collegium is run: the one-machine launcher."""
