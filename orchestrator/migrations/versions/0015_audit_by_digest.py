"""Rows of the audit log are found by the digest of what was sent."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the change."""
    op.create_index("ix_audit_log_body_digest", "audit_log", ["body_digest"])


def downgrade() -> None:
    """Undo the change."""
    op.drop_index("ix_audit_log_body_digest", "audit_log")
