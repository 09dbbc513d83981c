"""The validator's tool: an RPC endpoint and an artifact source in, a verdict out.

It trusts neither the orchestrator nor its database. It reads what nodes said (proposals, votes,
attestations, funding) from the chain and their adapters from the artifact source, recomputes everything
that follows from it, and compares. Signatures and deadlines are enforced by the chain and are not
checked again.
"""

from contracts.verify.checks import verify_task
from contracts.verify.verdict import RoundVerdict, Verdict, WrongFact

__all__ = ["RoundVerdict", "Verdict", "WrongFact", "verify_task"]
