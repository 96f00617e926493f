"""All kinds by name. To add one: write its manifest in `controller.api`, its four verbs in a module here, and add it to the list below."""

from __future__ import annotations

from controller.kinds.base import Kind
from controller.kinds.base_model import BaseModelKind
from controller.kinds.compute_pool import ComputePoolKind
from controller.kinds.database import DatabaseKind, SchemaKind
from controller.kinds.dataset import DatasetKind
from controller.kinds.fine_tune_job import FineTuneJobKind
from controller.kinds.function import FunctionKind
from controller.kinds.gateway import GatewayKind
from controller.kinds.image import ImageKind
from controller.kinds.image_repository import ImageRepositoryKind
from controller.kinds.model_deployment import ModelDeploymentKind
from controller.kinds.network import ExternalAccessIntegrationKind, NetworkRuleKind
from controller.kinds.role import RoleKind
from controller.kinds.secret import SecretKind
from controller.kinds.security_integration import SecurityIntegrationKind
from controller.kinds.service import ServiceKind
from controller.kinds.stage import StageKind
from controller.kinds.warehouse import WarehouseKind
from controller.kinds.workspace import WorkspaceKind

_ALL: tuple[Kind, ...] = (
    RoleKind(),
    WarehouseKind(),
    DatabaseKind(),
    SchemaKind(),
    SecurityIntegrationKind(),
    ComputePoolKind(),
    SecretKind(),
    NetworkRuleKind(),
    ExternalAccessIntegrationKind(),
    StageKind(),
    ImageRepositoryKind(),
    ImageKind(),
    DatasetKind(),
    BaseModelKind(),
    FineTuneJobKind(),
    ModelDeploymentKind(),
    WorkspaceKind(),
    ServiceKind(),
    FunctionKind(),
    GatewayKind(),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}
"""Kind name → the one instance (kinds hold no state)."""
