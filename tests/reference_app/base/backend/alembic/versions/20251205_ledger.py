"""The ledger of numbered rows."""

import sqlalchemy as sa
from alembic import op

revision = "20251205_ledger"
down_revision = "20251203_shifts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("client", sa.String(100), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("ix_ledger_client", "ledger", ["client"])


def downgrade() -> None:
    op.drop_table("ledger")
