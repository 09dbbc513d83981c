"""The epochs of the audit log, whose roots are put on chain."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "audit_epochs",
        sa.Column("first_row", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_row", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.String(length=66), nullable=False),
        sa.Column("closed_unix_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("first_row"),
    )


def downgrade() -> None:
    """Undo the change."""
    op.drop_table("audit_epochs")
