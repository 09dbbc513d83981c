"""The arithmetic every party must reproduce bit for bit, one rule a file.

A rule gets arrays and gives arrays; reading files is the caller's work, and arrays may be memory maps.
Whatever the rule, the order is ascending by node address, equal digests count once, and a result that is
not finite is refused. No rule uses threads, BLAS or a NumPy reduction whose order a machine chooses. Memory
stays at the result and some blocks, however many contributions there are.
"""

from contracts.aggregation.contribution import Contribution, aggregate

__all__ = ["Contribution", "aggregate"]
