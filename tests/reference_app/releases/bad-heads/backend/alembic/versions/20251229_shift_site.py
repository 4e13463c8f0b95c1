"""The site of each shift, written by somebody else on the same day."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_shift_site"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shifts", sa.Column("site", sa.String(50), nullable=True))


def downgrade() -> None:
    op.drop_column("shifts", "site")
