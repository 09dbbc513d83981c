"""Invites and enrolments."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DIGEST = sa.String(length=66)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "enrolments",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("node", sa.String(length=42), nullable=False),
        sa.Column("group_number", sa.BigInteger(), nullable=False),
        sa.Column("statement", sa.JSON(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("received_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("changed_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_enrolments_node", "enrolments", ["node"])
    op.create_table(
        "enrolment_invites",
        sa.Column("id", _NUMBER, nullable=False),
        sa.Column("digest", _DIGEST, nullable=False),
        sa.Column("network", sa.String(length=100), nullable=False),
        sa.Column("group_number", sa.BigInteger(), nullable=False),
        sa.Column("created_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("expires_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("enrolment", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["enrolment"], ["enrolments.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sa.UniqueConstraint("enrolment"),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("enrolment_invites")
    op.drop_table("enrolments")
