"""One host in front of endpoints of several services.

Source: docs.snowflake.com, sql-reference/sql/create-gateway; developer-guide/snowpark-container-services/gateway.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from controller.api.base import SIBLING, Manifest, Model, Ref, Scope, Spec
from controller.api.parts import PartName

ENDPOINTS = 5
"""At most so many endpoints in a gateway, unless Snowflake's support has raised it."""


class Target(Model):
    """An endpoint of a service."""

    kind: Literal["Service", "ModelDeployment", "Workspace"] = Field(default="Service", description="What `service` names.")
    service: Annotated[str, Ref(SIBLING)] = Field(description="The service; a deployment's is called as the deployment is.")
    endpoint: PartName


class Share(Target):
    weight: int = Field(ge=0, le=100, description="Percent of the requests.")


class GatewaySpec(Spec):
    targets: list[Share] = Field(default=[], description="Endpoints that share the requests; their weights add up to 100.")
    primary: Target | None = Field(default=None, description="In place of targets: the endpoint that answers every request.")
    shadow: list[Share] = Field(default=[], description="With primary: endpoints that get a copy of so many percent of the requests.")
    usage: list[Annotated[str, Ref("Role")]] = Field(default=[], description="Roles that may send requests.")
    comment: str | None = None

    @model_validator(mode="after")
    def _one_type(self) -> Self:
        if bool(self.targets) == (self.primary is not None):
            raise ValueError("exactly one of targets and primary is needed")
        if (self.primary is None) != (not self.shadow):
            raise ValueError("primary and shadow go together")
        everything = [*self.targets, *([self.primary] if self.primary is not None else []), *self.shadow]
        if len(everything) > ENDPOINTS:
            raise ValueError(f"{len(everything)} endpoints; a gateway takes at most {ENDPOINTS}")
        total = sum(target.weight for target in self.targets)
        if self.targets and total != 100:
            raise ValueError(f"the weights of targets add up to {total}; they must add up to 100")
        return self


class Gateway(Manifest):
    """One stable host that spreads requests over endpoints of services by weight, or copies them to shadows."""

    kind: Literal["Gateway"]
    spec: GatewaySpec
    scope: ClassVar[Scope] = Scope.SCHEMA
