"""The log: tables, the append function, the read functions."""

from __future__ import annotations

from alembic import op

from quarterdeck_ledger.migrations import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the schema."""
    run(revision, op.get_bind())


def downgrade() -> None:
    """Refuse: a log is not taken back."""
    raise RuntimeError("the log has no way down; restore a backup instead")
