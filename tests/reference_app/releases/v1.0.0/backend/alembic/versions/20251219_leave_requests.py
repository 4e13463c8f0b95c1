"""Requests for leave."""

import sqlalchemy as sa
from alembic import op

revision = "20251219_leave_requests"
down_revision = "20251218_ledger_batch"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leave_requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("resident_id", sa.Integer, sa.ForeignKey("residents.id"), nullable=False),
        sa.Column("first_day", sa.Date, nullable=False),
        sa.Column("last_day", sa.Date, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("leave_requests")
