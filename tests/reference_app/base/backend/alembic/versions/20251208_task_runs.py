"""The record of background tasks."""

import sqlalchemy as sa
from alembic import op

revision = "20251208_task_runs"
down_revision = "20251205_ledger"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "task_runs",
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("task", sa.String(100), nullable=False),
        sa.Column("client", sa.String(100)),
        sa.Column("number", sa.Integer),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("ix_task_runs_client", "task_runs", ["client"])


def downgrade() -> None:
    op.drop_table("task_runs")
