"""Use cases: load, decide with the domain, save together with the outbox, one transaction each."""
