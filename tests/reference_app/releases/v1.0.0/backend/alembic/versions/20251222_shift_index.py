"""An index for the shifts of one resident."""

from alembic import op

revision = "20251222_shift_index"
down_revision = "20251219_leave_requests"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_shifts_resident", "shifts", ["resident_id", "starts_at"])


def downgrade() -> None:
    op.drop_index("ix_shifts_resident", "shifts")
