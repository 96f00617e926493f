"""What containers may reach outside: network rules, and the integrations that allow them."""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import Manifest, Ref, Scope, Spec
from controller.api.parts import Name

_HOST = re.compile(
    r"(?=.{1,253}(:|$))[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*(:(?P<port>\d{1,5}))?"
)
_BY_HOST = ("HOST_PORT", "PRIVATE_HOST_PORT")
_LIST = r"^[^,()'\[\]\s]+$"


class NetworkRuleSpec(Spec):
    type: Literal["HOST_PORT", "PRIVATE_HOST_PORT", "IPV4", "AWSVPCEID", "AZURELINKID", "GCPPSCID"] = Field(
        default="HOST_PORT", description="Cannot be changed later."
    )
    mode: Literal["EGRESS", "INGRESS", "INTERNAL_STAGE", "POSTGRES_INGRESS", "POSTGRES_EGRESS"] = Field(
        default="EGRESS", description="Cannot be changed later."
    )
    values: list[Annotated[str, Field(pattern=_LIST)]] = Field(
        min_length=1, description="For HOST_PORT: `huggingface.co`, `example.com:8443`; no wildcards. For IPV4: `10.0.0.0/8`."
    )
    comment: str | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        outward = self.mode in ("EGRESS", "POSTGRES_EGRESS")
        if self.type in _BY_HOST and not outward:
            raise ValueError(f"mode {self.mode}: rules of type {self.type} are for mode EGRESS")
        if self.mode == "EGRESS" and self.type not in _BY_HOST:
            raise ValueError(f"mode EGRESS: needs type HOST_PORT or PRIVATE_HOST_PORT, not {self.type}")
        for value in self.values:
            if self.type in _BY_HOST:
                _host(value)
            elif self.type == "IPV4":
                _addresses(value)
        return self


def _host(value: str) -> None:
    match = _HOST.fullmatch(value)
    if not match or not 1 <= int(match["port"] or 443) <= 65535:
        raise ValueError(f"{value!r} is not a host with or without a port: huggingface.co, example.com:8443 (no wildcards)")


def _addresses(value: str) -> None:
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is neither an address nor a range of addresses: 192.0.2.7, 10.0.0.0/8") from None


class NetworkRule(Manifest):
    """Hosts or addresses, as a list."""

    kind: Literal["NetworkRule"]
    spec: NetworkRuleSpec
    scope: ClassVar[Scope] = Scope.SCHEMA


class ExternalAccessIntegrationSpec(Spec):
    network_rules: list[Annotated[str, Ref("NetworkRule")]] = Field(min_length=1, description="Rules of mode EGRESS that are allowed.")
    secrets: list[Annotated[str, Ref("Secret")]] = Field(default=[], description="Secrets that code behind it may use.")
    all_secrets: bool = Field(default=False, description="Whether code behind it may use every secret that its owner may read.")
    api_integrations: list[Name] = Field(
        default=[], description="Security integrations of type API_AUTHENTICATION whose OAuth tokens code behind it may use."
    )
    enabled: bool = True
    comment: str | None = None

    @model_validator(mode="after")
    def _some_or_all(self) -> Self:
        if self.all_secrets and self.secrets:
            raise ValueError("secrets: leave it out where allSecrets is true")
        return self


class ExternalAccessIntegration(Manifest):
    """Permission for services and jobs to reach the hosts of network rules."""

    kind: Literal["ExternalAccessIntegration"]
    spec: ExternalAccessIntegrationSpec
    scope: ClassVar[Scope] = Scope.ACCOUNT
