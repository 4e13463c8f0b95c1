"""The residents' pagers."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_resident_pager"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("residents", sa.Column("pager", sa.String(30), nullable=True))


def downgrade() -> None:
    op.drop_column("residents", "pager")
