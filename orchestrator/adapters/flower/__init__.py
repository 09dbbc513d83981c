"""Flower behind the port ``FlowerRuns``: a round's conductor is one Flower run; and the keys of its nodes."""

from orchestrator.adapters.flower.nodes import FlowerCommandNodes
from orchestrator.adapters.flower.runs import FlowerCommandRuns

__all__ = ["FlowerCommandNodes", "FlowerCommandRuns"]
