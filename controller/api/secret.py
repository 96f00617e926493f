"""A secret of the account. Its value never stands in a manifest: it is read where `valueFrom` points to, when it is needed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Manifest, Model, Scope, Spec
from controller.api.parts import Name


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
    type: Literal["genericString", "password", "oauth2"] = Field(default="genericString", description="Cannot be changed later.")
    value_from: ValueFrom | None = Field(
        default=None,
        description="Where the value is read from: the text, the password, or the refresh token (an oauth2 secret may do without one).",
    )
    username: str | None = Field(default=None, min_length=1, description="For type `password`.")
    api_authentication: Name | None = Field(
        default=None, description="For type `oauth2`: the security integration of type API_AUTHENTICATION. Cannot be changed later."
    )
    oauth_scopes: list[Annotated[str, Field(min_length=1, pattern=r"^[^,()'\[\]]+$")]] = Field(
        default=[], description="For type `oauth2` without a refresh token: what is asked for."
    )
    refresh_token_expiry: str | None = Field(
        default=None, min_length=1, description="For type `oauth2` with a refresh token: when it ends, `2027-01-06 20:00:00`."
    )
    comment: str | None = None

    @model_validator(mode="after")
    def _what_the_type_takes(self) -> Self:
        if (self.type == "password") != (self.username is not None):
            raise ValueError("username is needed for type password, and only there")
        if (self.type == "oauth2") != (self.api_authentication is not None):
            raise ValueError("apiAuthentication is needed for type oauth2, and only there")
        if self.type != "oauth2" and self.value_from is None:
            raise ValueError("valueFrom is needed: the value of the secret never stands in a manifest")
        with_token = self.type == "oauth2" and self.value_from is not None
        if with_token != (self.refresh_token_expiry is not None):
            raise ValueError("refreshTokenExpiry is needed for type oauth2 with a refresh token (valueFrom), and only there")
        if self.oauth_scopes and (self.type != "oauth2" or with_token):
            raise ValueError("oauthScopes: only for type oauth2 without a refresh token")
        return self


class Secret(Manifest):
    """A secret. Snowflake never shows a value again: a salted hash in the mark tells when it must be rotated."""

    kind: Literal["Secret"]
    spec: SecretSpec
    scope: ClassVar[Scope] = Scope.SCHEMA
