"""A secret of the account. Its value never stands in a manifest: it is read where `valueFrom` points to, when it is needed."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Manifest, Model, Scope, Spec


class ValueFrom(Model):
    """Where a value is read from: exactly one of these."""

    env: str | None = Field(default=None, description="Name of an environment variable of the snowcat process.")
    file: str | None = Field(
        default=None, description="A file, relative to the manifest; a line break at its end is left out. Keep it out of git."
    )
    command: list[str] | None = Field(
        default=None, min_length=1, description="A command whose standard output is the value: `[op, read, op://…]`."
    )
    optional: bool = Field(default=False, description="Without a value the object waits instead of failing.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("env", "file", "command") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"exactly one of env, file, command is needed; found {' and '.join(given) or 'none'}")
        return self


class SecretSpec(Spec):
    type: Literal["genericString", "password"] = Field(default="genericString", description="Cannot be changed later.")
    value_from: ValueFrom = Field(description="Where the value is read from.")
    username: str | None = Field(default=None, description="For type `password`.")
    comment: str | None = None

    @model_validator(mode="after")
    def _user_for_password(self) -> Self:
        if (self.type == "password") != (self.username is not None):
            raise ValueError("username is needed for type password, and only there")
        return self


class Secret(Manifest):
    """A secret. Snowflake never shows a value again: a salted hash in the mark tells when it must be rotated."""

    kind: Literal["Secret"]
    spec: SecretSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
