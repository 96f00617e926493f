"""The answers of a run as a table, and scores that are asked of it by SQL.

Without `predictions.table` a temporary one serves the scores and is gone with the session. Table and queries are tried
before the training: a misspelt column must not be found out hours later. The rows of a run replace those that an
earlier attempt of it wrote; other runs' rows stay, so that runs can be compared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from snowflake.connector.errors import DatabaseError, Error

from container import account
from training.config import PREDICTIONS_PLACE, Run, SqlMetric, TrainingConfig
from training.errors import BadInputError

COLUMNS = {
    "RUN_ID": "VARCHAR",
    "JOB": "VARCHAR",
    "ROW_ID": "VARCHAR",
    "QUESTION": "VARCHAR",
    "EXPECTED": "VARCHAR",
    "BASE_ANSWER": "VARCHAR",
    "TUNED_ANSWER": "VARCHAR",
    "BASE_SCORES": "OBJECT",
    "TUNED_SCORES": "OBJECT",
    "WRITTEN_AT": "TIMESTAMP_LTZ",
}
_DOING = "the table of predictions was used"
_CHUNK = 200_000  # characters of one INSERT: a statement may have a million, quotes are doubled in it
_NUMBERS = (0, 1)  # type codes of the driver: FIXED and REAL


def _temporary(run: Run) -> str:
    """A table of this attempt alone: the runs of a sweep work side by side in one schema, and a lost session keeps its own for a while."""
    return f"SNOWCAT_PREDICTIONS_{re.sub(r'[^A-Za-z0-9]', '_', run.id)}_{run.attempt}".upper()


class Predictions:
    """The predictions of one run. Needs the account only when the configuration asks for a table or for scores by SQL."""

    def __init__(self, config: TrainingConfig) -> None:
        self.kept = config.predictions is not None
        self.table = config.predictions.table if config.predictions is not None else _temporary(config.run)
        self.scores: list[SqlMetric] = config.evaluation.sql
        self.run = config.run
        if not account.TABLE_NAME.fullmatch(self.table):
            raise BadInputError(f"predictions.table {self.table!r} is not a table name: database.schema.table is needed")

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return self.kept or bool(self.scores)

    def check(self) -> None:
        """Make the table, and have every query compiled.

        Raises BadInputError that names what is wrong, and AccessError when the account ends the session.
        """
        with account.session(_DOING) as connection:
            cursor = connection.cursor()
            self._make(cursor)
            for score in self.scores:
                try:
                    columns = cursor.describe(self._query(score, "TUNED"))
                except DatabaseError as error:
                    if account.session_ended(error):
                        raise
                    raise BadInputError(f"evaluation.sql {score.name}: the query cannot be compiled: {_said(error)}") from error
                if len(columns) != 1 or columns[0].type_code not in _NUMBERS:
                    found = ", ".join(column.name for column in columns)
                    raise BadInputError(f"evaluation.sql {score.name}: the query must return one number, it returns {found}")

    def write(self, path: Path) -> tuple[dict[str, float], dict[str, float], list[str]]:
        """Put the answers into the table and ask for the scores: (base's, tuned's, why some are missing).

        `path`: predictions.jsonl. Raises AccessError when the account ends the session, and the driver's error when the table cannot be
        written. What was written is written anew when this is called again.
        """
        with account.session(_DOING) as connection:
            cursor = connection.cursor()
            self._make(cursor)
            cursor.execute("BEGIN")
            with path.open(encoding="utf-8") as lines:
                for chunk in _chunks(lines):
                    cursor.execute(self._insert(), (self.run.id, self.run.job, chunk))
            cursor.execute("COMMIT")
            found: dict[str, dict[str, float]] = {"BASE": {}, "TUNED": {}}
            missing = []
            for score in self.scores:
                for side, scores in found.items():
                    value, why = self._ask(cursor, score, side)
                    if why:
                        missing.append(f"{score.name} of the {side.lower()} model: {why}")
                    else:
                        scores[score.name] = value
            return found["BASE"], found["TUNED"], missing

    def _make(self, cursor: Any) -> None:
        """Make the table if it is not there, and show that it can be written: without rights or a warehouse this fails at once."""
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        kind = "TABLE IF NOT EXISTS" if self.kept else "TEMPORARY TABLE IF NOT EXISTS"
        try:
            cursor.execute(f"CREATE {kind} {self.table} ({columns})")
            cursor.describe(f"SELECT {', '.join(COLUMNS)} FROM {self.table}")  # noqa: S608 - a checked name
            cursor.execute(f"DELETE FROM {self.table} WHERE RUN_ID = %s", (self.run.id,))  # noqa: S608 - a checked name
        except DatabaseError as error:
            if account.session_ended(error):
                raise
            what = f"the table {self.table} of predictions cannot be used" if self.kept else "no temporary table for evaluation.sql"
            raise BadInputError(f"{what}: {_said(error)}; it needs the columns {', '.join(COLUMNS)}") from error

    def _insert(self) -> str:
        # one JSON text for many rows: needs no stage and no wider driver, and a VARIANT cannot be bound by itself
        return f"""INSERT INTO {self.table} ({", ".join(COLUMNS)})
SELECT %s, %s, r.value:row::VARCHAR, r.value:question::VARCHAR, r.value:expected::VARCHAR, r.value:base.answer::VARCHAR,
  r.value:tuned.answer::VARCHAR, r.value:base.scores::OBJECT, r.value:tuned.scores::OBJECT, CURRENT_TIMESTAMP()
FROM TABLE(FLATTEN(INPUT => PARSE_JSON(%s))) r"""  # noqa: S608 - a checked name

    def _query(self, score: SqlMetric, side: str) -> str:
        run = self.run.id.replace("\\", "\\\\").replace("'", "''")
        rows = f"(SELECT ROW_ID, QUESTION, EXPECTED, {side}_ANSWER AS ANSWER, {side}_SCORES AS SCORES FROM {self.table} WHERE RUN_ID = '{run}')"  # noqa: S608, E501
        return score.query.rstrip("; \n").replace(PREDICTIONS_PLACE, rows)

    def _ask(self, cursor: Any, score: SqlMetric, side: str) -> tuple[float, str]:
        try:
            rows = cursor.execute(self._query(score, side)).fetchmany(2)
        except DatabaseError as error:
            if account.session_ended(error):
                raise
            return 0.0, _said(error)
        if len(rows) != 1 or rows[0][0] is None:
            return 0.0, "the query returned NULL" if rows and len(rows) == 1 else "the query did not return one row"
        value = float(rows[0][0])
        return (round(value, 6), "") if math.isfinite(value) else (0.0, f"the query returned {value}")


def _chunks(lines: Iterable[str]) -> Iterator[str]:
    """JSON lists of the lines' objects, none much longer than a statement should be."""
    chunk: list[str] = []
    size = 0
    for line in lines:
        # scores are floats, and 1.0 stays 1.0; anything that is no JSON number would be refused by the account
        chunk.append(json.dumps(json.loads(line), allow_nan=False))
        size += len(chunk[-1])
        if size > _CHUNK:
            yield f"[{','.join(chunk)}]"
            chunk, size = [], 0
    if chunk:
        yield f"[{','.join(chunk)}]"


def _said(error: Error) -> str:
    return f"{error.errno} {' '.join(str(error.raw_msg or error.msg).split())}"
