"""Users and residents."""

import sqlalchemy as sa
from alembic import op

revision = "20251201_initial"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String(100), nullable=False, unique=True),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("role", sa.String(30), nullable=False),
    )
    op.create_table(
        "residents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("pgy_level", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("residents")
    op.drop_table("users")
