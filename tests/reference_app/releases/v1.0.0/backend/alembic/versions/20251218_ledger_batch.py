"""The batch of each ledger row."""

import sqlalchemy as sa
from alembic import op

revision = "20251218_ledger_batch"
down_revision = "20251208_task_runs"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # With a default in the database, so that the code before this release can go on writing rows.
    op.add_column("ledger", sa.Column("batch", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE ledger SET batch = number / 100")


def downgrade() -> None:
    op.drop_column("ledger", "batch")
