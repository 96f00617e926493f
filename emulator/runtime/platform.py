"""What the runtime needs of the account around it: tokens, secrets, stages, images. The only place that reaches out for them."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emulator.catalogue.store import CatalogueObject
from emulator.registry.images import RepositoryKey
from emulator.registry.unpack import ImageCache, UnpackedImage
from emulator.runtime.spec import ImageReference, StageSource
from emulator.runtime.writeback import StageTarget
from emulator.sql.parser import Cursor

if TYPE_CHECKING:
    from emulator.account import Account

TOKEN_SECONDS = 3600.0


@dataclass
class StageFolder(StageTarget):
    """A folder of a stage, as write-back uses it."""

    account: Account
    stage_id: int
    prefix: str

    def put(self, path: str, source: Path) -> None:
        self.account.stages.put(self._stage(), self._path(path), source)

    def remove(self, path: str, keep: Collection[str] = ()) -> None:
        stage, full = self._stage(), self._path(path)
        if not (self.account.stages.root(stage) / full).is_dir():
            self.account.stages.remove(stage, full)
            return
        kept = {self._path(other) for other in keep}
        for file in self.account.stages.list(stage, full + "/"):
            if file.path not in kept:
                self.account.stages.remove(stage, file.path)

    def _path(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _stage(self) -> CatalogueObject:
        stage = self.account.store.by_id(self.stage_id)
        if stage is None:
            raise LookupError("the stage was dropped")
        return stage


class Platform:
    """Small, named questions to the account."""

    def __init__(self, account: Account, images: ImageCache) -> None:
        self._account = account
        self._images = images

    @property
    def time_scale(self) -> float:
        return self._account.options.time_scale

    def service_token(self, service: CatalogueObject) -> str:
        return self._account.tokens.issue_container_token(service.owner, service.fqn, TOKEN_SECONDS)

    def revoke_tokens(self, service: CatalogueObject) -> None:
        self._account.tokens.revoke("container", service.fqn)

    def account_variables(self, service: CatalogueObject) -> dict[str, str]:
        """The SNOWFLAKE_* variables. Host and port are two, as this account listens on a port of its own."""
        account = self._account
        return {
            "SNOWFLAKE_ACCOUNT": account.name,
            "SNOWFLAKE_HOST": account.host,
            "SNOWFLAKE_PORT": str(account.port),
            "SNOWFLAKE_PROTOCOL": "http",
            "SNOWFLAKE_DATABASE": service.database,
            "SNOWFLAKE_SCHEMA": service.schema,
            "SNOWFLAKE_SERVICE_NAME": service.name,
        }

    def find_in(self, kind: str, name: str, service: CatalogueObject) -> CatalogueObject | None:
        """A schema object by a name as a specification writes it, relative to the service's schema."""
        parts = Cursor(name).name().parts
        defaults = (service.database, service.schema)
        full = (*defaults[: 3 - len(parts)], *parts)
        return self._account.store.find(kind, full[0], full[1], full[2])

    def stage_folder(self, source: StageSource, service: CatalogueObject) -> tuple[Path, StageFolder]:
        """(directory on disk, write-back target). Raises LookupError when the stage is gone."""
        stage = self.find_in("STAGE", source.name, service)
        if stage is None:
            raise LookupError(f"stage {source.name} does not exist")
        root = self._account.stages.root(stage)
        return (root / source.path if source.path else root), StageFolder(self._account, stage.id, source.path)

    def secret_values(self, name: str, service: CatalogueObject) -> dict[str, str]:
        """The secret's values by the names that `secretKeyRef` uses. Raises LookupError when it is gone."""
        secret = self.find_in("SECRET", name, service)
        if secret is None:
            raise LookupError(f"secret {name} does not exist")
        values = {} if secret.props.get("username") is None else {"username": str(secret.props["username"])}
        for key in ("password", "secret_string"):
            if secret.props.get(key) is not None:
                values[key] = self._account.vault.open(str(secret.props[key]))
        return values

    def image_digest(self, reference: ImageReference) -> str | None:
        key = RepositoryKey(reference.database, reference.schema, reference.repository)
        return self._images.resolve(key, reference.image, reference.reference)

    def unpack(self, digest: str) -> UnpackedImage:
        return self._images.unpack(digest)

    def save(self, service: CatalogueObject, **changes: object) -> None:
        """Runtime facts of a service into the catalogue; `updated_on` stays."""
        json.dumps(changes)
        self._account.store.set_props(service, **changes)
