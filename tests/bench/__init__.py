"""Benchmarks: ``python -m tests.bench`` runs all, ``--only gas,aggregation`` some; rows go to var/bench/.

A benchmark is one module here, named as its rows begin; its ``run()`` returns them. Modules that begin with
an underscore are what benchmarks share. Nothing here is a test: pytest collects none of it, and no test
looks at a clock.
"""
