"""Rows for training and evaluation: a file of the repository, kept as a table."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import LocalPath, Manifest, Model, Scope, Spec
from controller.api.parts import Name


class SplitSpec(Model):
    """Shares of the rows. A row's part depends on its content only, so that it stays when rows are added."""

    train: float = Field(default=0.8, ge=0, le=1)
    eval: float = Field(default=0.1, ge=0, le=1)
    test: float = Field(default=0.1, ge=0, le=1)
    stratify_by: str | None = Field(default=None, description="A column: every value of it is split in the same shares.")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = self.train + self.eval + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, eval and test must add up to 1; they are {total:g}")
        return self


class DatasetSpec(Spec):
    file: Annotated[str, LocalPath()] = Field(description="A .jsonl, .csv or .parquet file, relative to the manifest.")
    table: Name | None = Field(default=None, description="Name of the table; the manifest's own name when not set.")
    columns: dict[Name, str] | None = Field(
        default=None, min_length=1, description="Columns to keep and their SQL types; all of the file, with types found out, when not set."
    )
    split: SplitSpec = Field(default=SplitSpec(), description="How the rows are shared out.")
    comment: str | None = None

    @model_validator(mode="after")
    def _known_format(self) -> Self:
        if not self.file.lower().endswith((".jsonl", ".ndjson", ".csv", ".parquet")):
            raise ValueError(f"{self.file} is none of .jsonl, .ndjson, .csv, .parquet")
        return self


class Dataset(Manifest):
    """A file as a table: the file's columns, `_ROW_ID` (a hash of the row) and `_SPLIT` (train, eval, test)."""

    kind: Literal["Dataset"]
    spec: DatasetSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
    holds_data: ClassVar[bool] = True
    uses_warehouse: ClassVar[bool] = True
