"""The OAuth integration behind the URLs of public endpoints."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from controller.api.base import Manifest, Scope, Spec


class SecurityIntegrationSpec(Spec):
    type: Literal["snowservicesIngress"] = Field(default="snowservicesIngress", description="The one type that container services need.")
    enabled: bool = True
    comment: str | None = None


class SecurityIntegration(Manifest):
    """OAuth for public endpoints. An account has at most one and newer ones have it built in: one that is there already will do."""

    kind: Literal["SecurityIntegration"]
    spec: SecurityIntegrationSpec = SecurityIntegrationSpec()
    scope: ClassVar[Scope] = Scope.ACCOUNT
