"""What was found out about the RPC endpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "chain_witnesses",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("head", sa.BigInteger(), nullable=True),
        sa.Column("checked_unix_s", sa.BigInteger(), nullable=False),
        sa.Column("fault", sa.String(length=300), nullable=True),
        sa.Column("is_disputed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("chain_witnesses")
