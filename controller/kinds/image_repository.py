"""Image repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from controller.account import statements as sql
from controller.account.snapshot import Row
from controller.api.image import ImageRepository
from controller.api.objects import DesiredObject
from controller.kinds.base import Health, View
from controller.kinds.properties import TableKind, Verdict, as_upper
from controller.kinds.property import Property


def encryption(value: str) -> str:
    """The clause's value: `(TYPE = 'SNOWFLAKE_SSE')`."""
    return f"({sql.equals('TYPE', sql.text(value))})"


class ImageRepositoryKind(TableKind):
    name: ClassVar[str] = "ImageRepository"
    manifest: ClassVar[type[ImageRepository]] = ImageRepository
    what: ClassVar[str] = "IMAGE REPOSITORY"
    plural: ClassVar[str] = "IMAGE REPOSITORIES"
    properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "encryption", "ENCRYPTION", encryption, "encryption", as_upper, as_upper, mutable=False,
            way_out="an image repository keeps the encryption it was made with: put the old value back in the manifest, or "
            "let it be made again without its images (metadata.replace: allowed with deletionPolicy: delete)",
        ),
    )  # fmt: skip

    def verdict(self, obj: DesiredObject, row: Row, view: View) -> Verdict:
        return Verdict(Health.HEALTHY, str(row.get("repository_url") or ""), "Present")

    def observed(self, row: Row) -> Mapping[str, Any]:
        return {"repository_url": row.get("repository_url"), "encryption": row.get("encryption")}
