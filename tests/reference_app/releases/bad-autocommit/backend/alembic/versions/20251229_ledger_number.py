"""An index for numbers, made without locking. Fails after it."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_ledger_number"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger", sa.Column("note", sa.String(200), nullable=True))
    with op.get_context().autocommit_block():
        op.create_index("ix_ledger_number", "ledger", ["number"], postgresql_concurrently=True)
    op.execute("UPDATE ledger SET note = note_of(number)")  # there is no such function


def downgrade() -> None:
    op.drop_index("ix_ledger_number", "ledger")
    op.drop_column("ledger", "note")
