"""Flower behind the port ``FlowerRuns``: the conductor of a round is one Flower run."""

from orchestrator.adapters.flower.runs import FlowerCommandRuns

__all__ = ["FlowerCommandRuns"]
