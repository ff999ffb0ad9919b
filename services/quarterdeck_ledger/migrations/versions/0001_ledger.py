"""The log: tables, the append function, the read functions."""

from __future__ import annotations

from pathlib import Path

from alembic import op
from sqlalchemy.util import await_only

revision = "0001"
down_revision = None

SQL = Path(__file__).parents[2] / "sql"


def upgrade() -> None:
    """Create the schema. Whole scripts need the driver's simple protocol, below SQLAlchemy."""
    driver = op.get_bind().connection.driver_connection
    assert driver is not None  # noqa: S101  a live migration always has one
    for name in ("schema.sql", "append.sql", "read.sql"):
        await_only(driver.execute((SQL / name).read_text()))


def downgrade() -> None:
    """Refuse: a log is not taken back."""
    raise RuntimeError("the log has no way down; restore a backup instead")
