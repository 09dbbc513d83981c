"""The outbox keeps every signed transaction, and knows what is final.

The bytes move from the intents to a table of their own, because an intent may need several transactions and
a transaction may carry several intents. Going back keeps the newest transaction of each intent, and sends
intents in flight again from the start where an older version could not follow them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DIGEST = sa.String(length=66)
_ADDRESS = sa.String(length=42)
_AMOUNT = sa.String(length=78)


def upgrade() -> None:
    """Apply the change."""
    op.create_table(
        "transactions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("hash", _DIGEST, nullable=False),
        sa.Column("sender", _ADDRESS, nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("most_wei", _AMOUNT, nullable=False),
        sa.Column("tip_wei", _AMOUNT, nullable=False),
        sa.Column("signed_unix_s", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("hash", name="uq_transactions_hash"),
    )
    with op.batch_alter_table("transactions", schema=None) as batch_op:
        batch_op.create_index("ix_transactions_slot", ["sender", "nonce"], unique=False)
    # Nobody wrote the fees down: nothing is known to be paid, so that a replacement asks the market.
    op.execute(
        "INSERT INTO transactions (hash, sender, nonce, raw, most_wei, tip_wei, signed_unix_s) "
        "SELECT transaction_hash, sender, nonce, raw, '0', '0', changed_unix_s "
        "FROM outbox WHERE raw IS NOT NULL ORDER BY id"
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_constraint("uq_outbox_sender_nonce", type_="unique")
        batch_op.drop_column("raw")
        batch_op.add_column(sa.Column("position", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("block_hash", _DIGEST, nullable=True))
        batch_op.add_column(sa.Column("is_final", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.create_unique_constraint("uq_outbox_slot", ["sender", "nonce", "position"])
        batch_op.create_index("ix_outbox_block_number", ["block_number"], unique=False)
    op.execute("UPDATE outbox SET position = 0 WHERE nonce IS NOT NULL")
    outbox = sa.table("outbox", sa.column("status"), sa.column("block_number"), sa.column("is_final"))
    op.execute(
        sa.update(outbox)
        .where(outbox.c.status == "refused", outbox.c.block_number.is_(None))
        .values(is_final=sa.true())
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.alter_column("is_final", existing_type=sa.Boolean(), server_default=None)


def downgrade() -> None:
    """Undo the change."""
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_index("ix_outbox_block_number")
        batch_op.drop_constraint("uq_outbox_slot", type_="unique")
        batch_op.add_column(sa.Column("raw", sa.LargeBinary(), nullable=True))
    # A batch has several intents in one transaction, which only one may name there.
    op.execute(
        "UPDATE outbox SET sender = NULL, nonce = NULL, transaction_hash = NULL, "
        "status = CASE WHEN status IN ('signed', 'sent', 'reorged', 'resent') THEN 'queued' ELSE status END "
        "WHERE position > 0"
    )
    op.execute(
        "UPDATE outbox SET raw = (SELECT raw FROM transactions WHERE hash = outbox.transaction_hash), "
        "status = CASE status WHEN 'final' THEN 'mined' WHEN 'reorged' THEN 'sent' WHEN 'resent' THEN 'sent' "
        "ELSE status END"
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_column("is_final")
        batch_op.drop_column("block_hash")
        batch_op.drop_column("position")
        batch_op.create_unique_constraint("uq_outbox_sender_nonce", ["sender", "nonce"])
    op.drop_table("transactions")
