"""A column whose author saw no way back."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_one_way"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("residents", sa.Column("nickname", sa.String(100), nullable=True))


def downgrade() -> None:
    raise NotImplementedError
