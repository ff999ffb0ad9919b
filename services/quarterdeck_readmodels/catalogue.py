"""Every read model and every fold of the house. A new one is added to its room's ROWS and FOLDS and lands here."""

from __future__ import annotations

from typing import Final

from quarterdeck_readmodels import access, approvals, estate, estate_relations, policy, sources
from quarterdeck_readmodels.tables import Fold, Row

ROWS: Final[tuple[type[Row], ...]] = (*access.ROWS, *policy.ROWS, *approvals.ROWS, *estate.ROWS, *sources.ROWS)
FOLDS: Final[dict[str, Fold]] = {
    **access.FOLDS,
    **policy.FOLDS,
    **approvals.FOLDS,
    **estate.FOLDS,
    **estate_relations.FOLDS,
    **sources.FOLDS,
}
VERSION: Final = 16
"""Raised with every change of a row type or a fold: a database with another version is rebuilt from the log."""
