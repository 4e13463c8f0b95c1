"""The reason of each request for leave."""

import sqlalchemy as sa
from alembic import op

revision = "20251231_leave_reason"
down_revision = "20251230_shift_kind"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leave_requests", sa.Column("reason", sa.String(200), nullable=True))


def downgrade() -> None:
    op.drop_column("leave_requests", "reason")
