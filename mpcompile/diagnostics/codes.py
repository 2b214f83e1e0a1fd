"""Every diagnostic code: one table for `mpcompile explain`, the documentation and editors.

To add a code, append a row to the file of its kind. MP0xx is intake, MP1xx syntax and names (`codes_language.py`), MP2xx
shapes and types, MP3xx dependence and proofs, MP4xx flows and Jacobians (`codes_models.py`), MP5xx training and data,
MP6xx certificates, MP9xx internal (`codes_runs.py`), MP7xx models that were not written here (`codes_foreign.py`).
"""

from __future__ import annotations

from mpcompile.diagnostics import codes_foreign, codes_language, codes_models, codes_runs
from mpcompile.diagnostics.code import Code

_ROWS = [row for table in (codes_language, codes_models, codes_runs, codes_foreign) for row in table.TABLE]
CODES: dict[str, Code] = {row.code: row for row in sorted(_ROWS, key=lambda row: row.code)}

__all__ = ["CODES", "Code"]
