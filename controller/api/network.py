"""What containers may reach outside: network rules, and the integrations that allow them."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.api.base import Manifest, Ref, Scope, Spec


class NetworkRuleSpec(Spec):
    type: Literal["HOST_PORT", "PRIVATE_HOST_PORT", "IPV4", "AWSVPCEID", "AZURELINKID", "GCPPSCID"] = Field(
        default="HOST_PORT", description="Cannot be changed later."
    )
    mode: Literal["EGRESS", "INGRESS", "INTERNAL_STAGE"] = Field(default="EGRESS", description="Cannot be changed later.")
    values: list[str] = Field(min_length=1, description="For HOST_PORT: `huggingface.co`, `example.com:8443`; no wildcards.")
    comment: str | None = None


class NetworkRule(Manifest):
    """Hosts or addresses, as a list."""

    kind: Literal["NetworkRule"]
    spec: NetworkRuleSpec
    scope: ClassVar[Scope] = Scope.SCHEMA


class ExternalAccessIntegrationSpec(Spec):
    network_rules: list[Annotated[str, Ref("NetworkRule")]] = Field(min_length=1, description="Rules of mode EGRESS that are allowed.")
    secrets: list[Annotated[str, Ref("Secret")]] = Field(default=[], description="Secrets that code behind it may use.")
    enabled: bool = True
    comment: str | None = None


class ExternalAccessIntegration(Manifest):
    """Permission for services and jobs to reach the hosts of network rules."""

    kind: Literal["ExternalAccessIntegration"]
    spec: ExternalAccessIntegrationSpec
    scope: ClassVar[Scope] = Scope.ACCOUNT
