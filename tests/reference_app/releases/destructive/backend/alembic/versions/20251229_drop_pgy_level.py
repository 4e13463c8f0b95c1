"""The year of training is no longer kept."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_drop_pgy_level"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("residents", "pgy_level")


def downgrade() -> None:
    # The values are gone; whoever needs them restores the backup.
    op.add_column("residents", sa.Column("pgy_level", sa.Integer, nullable=False, server_default="0"))
