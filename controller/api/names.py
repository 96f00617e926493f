"""Snowflake identifiers as values, so that no other module compares or quotes names by hand.

Snowflake stores unquoted identifiers in upper case and compares them so; quoted ones keep their case. Compute pools, services, image
repositories and the databases and schemas that hold the latter two take unquoted names only.

Source: docs.snowflake.com, sql-reference/identifiers-syntax, sql-reference/reserved-keywords;
developer-guide/snowpark-container-services/working-with-services.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,254}")
_MAX_LENGTH = 255
_KEPT = 20_000  # names that were read before; a large project has some thousands, and reads each again and again


_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        ALL ALTER AND ANY AS BETWEEN BY CHECK COLUMN CONNECT CREATE CURRENT DELETE DISTINCT DROP ELSE EXISTS FOLLOWING FOR FROM GRANT
        GROUP HAVING ILIKE IN INCREMENT INSERT INTERSECT INTO IS LIKE MINUS NOT NULL OF ON OR ORDER QUALIFY REGEXP REVOKE RLIKE ROW
        ROWS SAMPLE SELECT SET SOME START TABLE TABLESAMPLE THEN TO TRIGGER UNION UNIQUE UPDATE VALUES WHENEVER WHERE WINDOW WITH
        """,
    )
)
_LIMITED = frozenset(
    re.findall(
        r"\w+",
        """
        ACCOUNT ASC CASE CAST CONNECTION CONSTRAINT CROSS CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DATABASE DESC FALSE
        FULL GSCLUSTER IDENTIFIER IF INNER ISSUE JOIN LATERAL LEFT LOCALTIME LOCALTIMESTAMP NATURAL ORGANIZATION OUTER RIGHT SCHEMA
        TRUE TRY_CAST USING VIEW WHEN
        """,
    )
)
"""Words that are no names in some places: in SHOW … IN, as a column, in FROM, or where a statement may hold the word before a name."""


class NameProblem(ValueError):
    """A text that Snowflake cannot take as a name. The message says why and shows a name that would do."""


@dataclass(frozen=True, order=True)
class Identifier:
    """One part of a name, as Snowflake stores it (`text`). Equality is Snowflake's own: `parse("a") == parse("A")`."""

    text: str

    @classmethod
    @lru_cache(_KEPT)
    def parse(cls, written: str) -> Identifier:
        """Read a name as a person writes it: bare (case folds to upper) or in double quotes (case kept).

        Raises:
            NameProblem: empty, too long, or neither a bare name nor properly quoted.
        """
        quoted = len(written) >= 2 and written.startswith('"') and written.endswith('"')
        text = written
        if quoted:
            inner = written[1:-1]
            if not inner or '"' in inner.replace('""', ""):
                raise NameProblem(f"{written} is not a quoted identifier: double an inner quote and leave none empty")
            text = inner.replace('""', '"')
        if len(text) > _MAX_LENGTH:
            raise NameProblem(f"{written[:20]!r}… has {len(text)} characters; a Snowflake identifier has at most {_MAX_LENGTH}")
        if not quoted and not _BARE.fullmatch(written):
            hint = re.sub(r"[^A-Za-z0-9_$]", "_", written) or "my_name"
            if hint[0].isdigit() or hint[0] == "$":
                hint = "_" + hint
            raise NameProblem(
                f"{written!r} is not a Snowflake identifier: letters, digits, '_' and '$', not starting with a digit; try {hint!r}"
            )
        return cls(text if quoted else text.upper())

    @cached_property
    def is_bare(self) -> bool:
        """Whether a manifest may write the name without quotes."""
        return bool(_BARE.fullmatch(self.text)) and self.text == self.text.upper()

    @property
    def is_reserved(self) -> bool:
        """Whether SQL takes the name nowhere but in quotes, because it is a word of the language."""
        return self.text in _RESERVED

    @property
    def sql(self) -> str:
        """The name as SQL text, quoted only where it must be."""
        plain = self.is_bare and self.text not in _RESERVED and self.text not in _LIMITED
        return self.text if plain else '"' + self.text.replace('"', '""') + '"'

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, order=True)
class QualifiedName:
    """A name with its database and schema, where it has them: 1 part (account level), 2 (a schema) or 3 (within a schema)."""

    parts: tuple[Identifier, ...]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.texts)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The parts as Snowflake stores them; also what names are sorted by."""
        return tuple(part.text for part in self.parts)

    @classmethod
    @lru_cache(_KEPT)
    def parse(cls, written: str) -> QualifiedName:
        """Read `a`, `db.a` or `db.schema.a`; dots inside quotes do not separate.

        Raises:
            NameProblem: as `Identifier.parse`, or more than three parts.
        """
        parts = tuple(Identifier.parse(part) for part in _split(written))
        if len(parts) > 3:
            raise NameProblem(f"{written!r} has {len(parts)} parts; at most database.schema.name")
        return cls(parts)

    @property
    def name(self) -> Identifier:
        return self.parts[-1]

    @property
    def parent(self) -> QualifiedName | None:
        """The schema (of three parts), the database (of two), or None."""
        return QualifiedName(self.parts[:-1]) if len(self.parts) > 1 else None

    def child(self, name: Identifier) -> QualifiedName:
        return QualifiedName((*self.parts, name))

    @property
    def sql(self) -> str:
        return ".".join(part.sql for part in self.parts)

    def __str__(self) -> str:
        return ".".join(part.text for part in self.parts)


def _split(written: str) -> list[str]:
    """Split at dots outside double quotes."""
    parts, current, quoted = [], "", False
    for char in written:
        if char == '"':
            quoted = not quoted
        if char == "." and not quoted:
            parts.append(current)
            current = ""
        else:
            current += char
    return [*parts, current]


SYSTEM_ROLES = ("ACCOUNTADMIN", "SECURITYADMIN", "SYSADMIN", "USERADMIN", "PUBLIC", "ORGADMIN", "GLOBALORGADMIN")
"""Roles that every account has. Source: docs.snowflake.com, user-guide/security-access-control-overview."""
