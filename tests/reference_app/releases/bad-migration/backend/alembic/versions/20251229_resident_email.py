"""The address of each resident."""

import sqlalchemy as sa
from alembic import op

revision = "20251229_resident_email"
down_revision = "20251222_shift_index"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("residents", sa.Column("email", sa.String(200), nullable=True))


def downgrade() -> None:
    op.drop_column("residents", "email")
