"""The source of each ledger row: needs the table for itself for a moment."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_ledger_source"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ledger", sa.Column("source", sa.String(50), nullable=True))


def downgrade() -> None:
    op.drop_column("ledger", "source")
