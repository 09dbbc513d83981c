"""Alembic migrations; ``collegium migrate`` runs them from the installed package.

A change of the models comes with a migration in ``versions``; a test holds the two together.
"""
