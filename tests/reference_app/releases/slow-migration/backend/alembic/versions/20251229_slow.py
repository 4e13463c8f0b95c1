"""Takes its time."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_slow"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leave_requests", sa.Column("note", sa.String(200), nullable=True))
    op.execute("SELECT pg_sleep(8)")


def downgrade() -> None:
    op.drop_column("leave_requests", "note")
