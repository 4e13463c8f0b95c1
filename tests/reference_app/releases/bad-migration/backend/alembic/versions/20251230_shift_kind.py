"""The kind of each shift. Fails after its first statements."""

import sqlalchemy as sa
from alembic import op

revision = "20251230_shift_kind"
down_revision = "20251229_resident_email"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shifts", sa.Column("kind", sa.String(30), nullable=True))
    op.execute("UPDATE ledger SET batch = batch + 1")
    op.execute("UPDATE shifts SET kind = kind_of(starts_at)")  # there is no such function


def downgrade() -> None:
    op.drop_column("shifts", "kind")
