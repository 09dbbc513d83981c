"""What networks declare: sites and policies."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_ADDRESS = sa.String(length=42)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "sites",
        sa.Column("node", _ADDRESS, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("node", "name"),
    )
    op.create_table(
        "policies",
        sa.Column("node", _ADDRESS, nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=66), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("declared_unix_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "version"),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("policies")
    op.drop_table("sites")
