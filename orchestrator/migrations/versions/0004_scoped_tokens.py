"""Tokens with four roles, a node, narrower operations and always an end; sessions in a table of their own.

A reader becomes an auditor. A token that never expired gets 90 days from now: whoever holds it replaces it
with ``collegium tokens rotate``. Browser sessions lay among the tokens; people sign in again.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_LIFETIME_S = 90 * 86_400
_tokens = sa.table(
    "api_tokens",
    sa.column("role", sa.String()),
    sa.column("expires_unix_s", sa.BigInteger()),
    sa.column("created_unix_s", sa.BigInteger()),
    sa.column("issued_by", sa.String()),
)


def upgrade() -> None:
    """Apply the change."""
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.add_column(sa.Column("node", sa.String(length=42), nullable=True))
        batch_op.add_column(sa.Column("signer", sa.String(length=42), nullable=True))
        batch_op.add_column(sa.Column("operations", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("created_unix_s", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("issued_by", sa.String(length=100), nullable=True))

    now_unix_s = int(time.time())
    op.execute(_tokens.update().values(created_unix_s=now_unix_s, issued_by="migration"))
    op.execute(
        _tokens.update()
        .where(_tokens.c.expires_unix_s.is_(None))
        .values(expires_unix_s=now_unix_s + _LIFETIME_S)
    )
    op.execute(_tokens.update().where(_tokens.c.role == "reader").values(role="auditor"))
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        for column, kind in (
            ("created_unix_s", sa.BigInteger()),
            ("expires_unix_s", sa.BigInteger()),
            ("issued_by", sa.String(length=100)),
        ):
            batch_op.alter_column(column, existing_type=kind, nullable=False)

    op.create_table(
        "sessions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("node", sa.String(length=42), nullable=True),
        sa.Column("operations", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("token", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("expires_unix_s", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["token"], ["api_tokens.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_hash"),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sessions_token"), ["token"], unique=False)


def downgrade() -> None:
    """Undo the change. Tokens of operators and narrowed tokens would gain rights, so they are dropped."""
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sessions_token"))

    op.drop_table("sessions")
    op.execute("DELETE FROM api_tokens WHERE role = 'operator' OR operations IS NOT NULL")
    op.execute(_tokens.update().where(_tokens.c.role == "auditor").values(role="reader"))
    with op.batch_alter_table("api_tokens", schema=None) as batch_op:
        batch_op.alter_column("expires_unix_s", existing_type=sa.BigInteger(), nullable=True)
        for column in ("issued_by", "created_unix_s", "operations", "signer", "node"):
            batch_op.drop_column(column)
