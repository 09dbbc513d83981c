"""Alembic migrations; `collegium migrate` runs them from the installed package."""
