"""What all parties agree on: messages, task specs, adapters, arithmetic and settlement."""
