"""One inner round: a task spec and a parent adapter in, an adapter and a report out (NVFlare)."""
