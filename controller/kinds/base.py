"""The contract between a kind and the loop: four verbs, and the values that pass between them.

A kind knows both sides, the manifest and the account, and nothing of order, retries, ownership or threads: those are written once, in
`controller.reconcile`. All verbs are pure. What must touch files, the network or the account becomes a `Step` that the loop carries out,
or a fact gathered before planning.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from controller.account.snapshot import Read, Row, Show, Snapshot
from controller.api.base import Manifest
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.mark import Mark
from controller.kinds.sizes import Size


class Health(StrEnum):
    HEALTHY = "Healthy"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    SUSPENDED = "Suspended"
    MISSING = "Missing"


@dataclass(frozen=True)
class Unknown:
    """A value that only a later step can know; printed as such in a plan: `Unknown("after Image/trainer")`."""

    reason: str

    def __str__(self) -> str:
        return f"({self.reason})"


@dataclass(frozen=True)
class FieldChange:
    """One field that differs. `before` is what the account has, `after` what the manifest says. Secrets never appear in either."""

    path: str
    before: Any
    after: Any
    immutable: bool = False  # Snowflake cannot change it in place
    way_out: str = ""  # for an immutable field: what a person can do
    own: bool = False  # the object's own work came this far, and goes on from here: nobody changed anything


# ---- steps: what a change is made of -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sql:
    """One statement. `display` is the text for people, with secrets redacted; None when `text` holds none."""

    text: str
    display: str | None = None
    tolerate: frozenset[int] = frozenset()  # errnos that mean 'already so'
    apart: bool = False  # refused, it does not hold up what follows and is apart too, such as other grants of a role

    def __str__(self) -> str:
        return self.display if self.display is not None else self.text


class Effect(ABC):
    """A step that is not one statement: build and push an image, upload files, load a table. Subclasses are frozen data classes."""

    @abstractmethod
    def __str__(self) -> str:
        """One line for the plan: `build image trainer (12 files, 84 kB)`."""

    @property
    def rests_on(self) -> str:
        """What else in the account the change depends on: one that failed is tried again at once when this moves. Default: nothing."""
        return ""

    @abstractmethod
    def run(self, context: EffectContext) -> None:
        """Do it. Idempotent: after a crash half-way it runs again from the start.

        Raises:
            KindError: a person must act (`Stalled`) or something must happen first (`Waiting`).
            AccountError: as the account answered.
        """


Step = Sql | Effect


class EffectContext(Protocol):
    """What an effect may use. Implemented by `controller.reconcile.work.execute`."""

    @property
    def session(self) -> Any:
        """`controller.account.session.Session`, for this worker alone."""

    @property
    def workdir(self) -> Path:
        """A private folder, removed afterwards."""

    def progress(self, message: str) -> None:
        """Say on the object's status what is being done."""

    def remember(self, key: str, value: Any) -> None:
        """Keep a JSON value in the project's state file, for `Gatherer.recall` (a cache: losing it costs doing the step again)."""


# ---- errors a kind may raise ---------------------------------------------------------------------------------------------------------


class KindError(Exception):
    """Base. The message goes into the object's condition: what is wrong, where, and what to do."""


class Waiting(KindError):
    """Something outside must happen first; no error, looked at again on the next cycle."""


class Stalled(KindError):
    """A person must act; not retried until the manifest, its files or the account changes, or `snowcat reconcile` is called."""

    def __init__(self, message: str, reason: str = "Stalled") -> None:
        super().__init__(message)
        self.reason = reason


# ---- what a kind sees and says --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Project:
    """Settings of `snowcat.yaml` that kinds need."""

    name: str
    root: Path  # the folder of snowcat.yaml; relative paths in manifests are relative to their own file
    warehouse: str | None = None  # QUERY_WAREHOUSE for jobs and services, and for the few statements that need one
    local: bool = False  # the embedded account: images may be built without an engine
    existing: frozenset[ObjectKey] = frozenset()  # of others, and may be referred to
    role: str = ""  # that the sessions work as, as SHOW writes it


@dataclass(frozen=True)
class View:
    """All that planning may look at."""

    project: Project
    graph: Graph
    snapshot: Snapshot
    facts: Mapping[ObjectKey, Any] = field(default_factory=dict)
    births: Mapping[ObjectKey, str] = field(default_factory=dict)  # `Observation.born` of objects that have carried our mark

    def fact(self, key: ObjectKey) -> Any:
        """The gathered fact of an object.

        Raises:
            KindError: gathering it failed; the message says why.
        """
        value = self.facts.get(key)
        if isinstance(value, KindError):
            raise value
        return value


@dataclass(frozen=True)
class Observation:
    """One object as the account shows it now.

    `drift` lists the fields that differ from the manifest; empty with `exists` means in sync. `mark` is the ownership mark found, None when
    there is none. `markable` is false for what carries no comment (grants). `progress` is 0..1 for jobs, with `details` for the live view.
    """

    exists: bool
    health: Health = Health.HEALTHY
    message: str = ""
    reason: str = ""  # CamelCase, for the Ready condition
    drift: tuple[FieldChange, ...] = ()
    mark: Mark | None = None
    markable: bool = True
    owner: str | None = None
    born: str = ""  # created_on: tells an object from another one that was made later under its name
    observed: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, tuple[bool, str, str]] = field(default_factory=dict)  # extra: type → (status, reason, message)
    progress: float | None = None


@dataclass(frozen=True)
class Inventory:
    """An object of this project found in the account by its mark, for pruning: it may be in no manifest any more."""

    key: ObjectKey
    mark: Mark


@dataclass(frozen=True)
class Load:
    """What an object takes of a compute pool while it runs. All of one instance, `size`, is on one node."""

    pool: ObjectKey
    size: Size
    instances: int = 1
    job: bool = False  # it ends by itself
    priority: int = 0
    preemptible: bool = False  # may be suspended for what has a higher priority


@dataclass(frozen=True)
class Room:
    """What a compute pool offers at most. `queue` is who waited for it at the last look, in order of arrival, as noted in the account."""

    node: Size
    nodes: int
    family: str
    queue: tuple[str, ...] = ()
    rests: bool = False  # it is to be suspended while nothing is left to run on it
    state: str = ""  # as SHOW has it; '' when it does not exist
    counted: int = 0  # services and jobs on it, those that this role may not see too


@dataclass(frozen=True)
class Forecast:
    """What an object will need and cost once its change is carried out: lines for people, a document for scripts."""

    lines: tuple[str, ...]
    document: Mapping[str, Any]


class Gatherer(Protocol):
    """I/O that a kind may ask for before planning. Implemented by `controller.reconcile.look.facts`, with caches."""

    project: Project

    def hash_files(self, paths: Iterable[Path]) -> str:
        """sha256 over names (relative to their common root), modes and contents; cached by size and mtime."""

    def remember(self, key: str, value: Any) -> None:
        """Keep a JSON value in the project's state file (a cache: losing it costs a re-read)."""

    def recall(self, key: str) -> Any | None: ...

    def read_stage_file(self, stage: str, path: str) -> bytes | None:
        """GET one file of a stage; None when it does not exist, or offline."""

    def list_stage_files(self, stage: str, folder: str, pattern: str = "") -> Mapping[str, int]:
        """LIST of a folder, for whoever would look for many files in it one by one; `pattern` is over whole paths. Empty offline.

        Sizes in bytes by path, the stage's name first.
        """

    def show(self, read: Show) -> tuple[Mapping[str, Any], ...]:
        """A SHOW before planning, cached for the cycle (its answer joins the snapshot); none offline."""

    def service_logs(self, service: str, instance: int, container: str, lines: int) -> str | None:
        """The last lines that a container wrote (`service` as SQL text); None when there are none, they may not be read, or offline."""

    @property
    def offline(self) -> bool: ...


class Kind(ABC):
    """One kind. Subclasses are stateless and registered in `controller.kinds.registry`."""

    name: ClassVar[str]
    manifest: ClassVar[type[Manifest]]
    update_makes: ClassVar[bool] = False
    """An update may begin work anew, as a create does: of a job whose rows have changed, a new run."""

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> Any:
        """Facts from the user's files and, rarely, the account: hashes, fingerprints, values of secrets, finished runs. Default: none.

        Raises:
            KindError: the object cannot be planned; others go on.
        """
        return None

    @abstractmethod
    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        """The SHOWs that `observe` will look at. One per kind and scope: never one per object where a scope will do."""

    def deep_reads(self, obj: DesiredObject, view: View) -> Iterable[Read]:
        """Questions about one object (DESCRIBE, SHOW PARAMETERS) for what its SHOW does not tell, most urgent first. Default: none.

        The loop grants them within `deepReads` a cycle.
        """
        return ()

    def expand(self, obj: DesiredObject, view: View) -> Sequence[DesiredObject]:
        """A composite kind's children as simple objects (each with `parent=obj.key`); default: none. A composite's status includes theirs.

        Raises:
            Waiting, Stalled: the children cannot be known yet; those that exist are left as they are.
        """
        return ()

    @abstractmethod
    def observe(self, obj: DesiredObject, view: View) -> Observation: ...

    @abstractmethod
    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]: ...

    @abstractmethod
    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]: ...

    @abstractmethod
    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        """Statements that remove the object. `view.graph` may no longer hold it."""

    def remark(self, obj: DesiredObject, view: View, attributes: Mapping[str, str]) -> Sequence[Step]:
        """Statements that set attributes of the mark that the object carries, an empty one taken out, and change nothing else.

        None where there is no object or no mark of this project. Default: none (kinds without a comment).
        """
        return ()

    def inventory_reads(self) -> Iterable[Show]:
        """The account-wide SHOWs that `inventory` looks at (`Show("SERVICES", "ACCOUNT")`): they find objects whose manifests are gone.

        Asked on a full pass only, not while a change is being waited for. Default: none.
        """
        return ()

    def inventory(self, view: View) -> Iterable[Inventory]:
        """Objects of this kind that carry this project's mark, from all rows of the snapshot. Default: none (kinds without a comment).

        `key` is the key that the manifest has (or had), so that an object that is still desired is never taken for a leftover.
        """
        return ()

    def drop_reads(self, key: ObjectKey) -> Iterable[Show]:
        """For containers: the SHOWs that `foreign_inside` looks at; asked only when the object is to be dropped."""
        return ()

    def foreign_inside(self, key: ObjectKey, view: View) -> Iterable[str]:
        """For containers (Database, Schema): names inside that this project did not make; a drop is refused while there are any."""
        return ()

    def cost(self, obj: DesiredObject, seen: Observation, view: View) -> tuple[float | None, float | None] | None:
        """Credits per hour before and after, at the smallest size that is kept running; None for what costs nothing by itself.

        A side is None where the rate is not known, so that it is never taken for 0.
        """
        return None

    def forecast(self, obj: DesiredObject, view: View) -> Forecast | None:
        """What a plan tells of a change beyond its statements: what the work needs and how long it takes. Default: nothing."""
        return None

    # ---- room on compute pools; see `controller.reconcile.planning.placement` ----

    def load(self, obj: DesiredObject, view: View) -> Load | None:
        """What it takes of a compute pool of the project; None for what runs nowhere."""
        return None

    def room(self, obj: DesiredObject, view: View) -> Room | None:
        """What it offers to others to run on; None for all kinds but pools, and where it is not known."""
        return None

    def hold(self, obj: DesiredObject, by: str, view: View) -> Sequence[Step]:
        """Suspend what runs to make room for `by`, and note that in the mark first. What is already so needs no step."""
        return ()

    def release(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        """Resume what `hold` suspended, and take the note out of the mark last."""
        return ()

    def note_queue(self, obj: DesiredObject, queue: Sequence[str], view: View) -> Sequence[Step]:
        """Write down in the account who waits for the room, in order of arrival."""
        return ()

    # ---- export: from the account to a manifest ----

    def export_reads(self) -> Iterable[Show]:
        """The account-wide SHOWs whose rows `export` is asked about. Default: none, the kind cannot be exported."""
        return ()

    def exported_name(self, row: Row) -> QualifiedName | None:
        """The full name of the object that a row of `export_reads` is about; None for what is not exported, such as Snowflake's own."""
        return None

    def export_details(self, name: QualifiedName, row: Row) -> Iterable[Read]:
        """What else must be asked to know the whole object. Default: nothing."""
        return ()

    def export(self, name: QualifiedName, row: Row, snapshot: Snapshot) -> dict[str, Any] | None:
        """The `spec` of a manifest that describes the object as it is; None where it cannot be described.

        References are written in full. The value of a secret is never in it.
        """
        return None

    def leftover_cost(self, key: ObjectKey, view: View) -> tuple[float | None, float | None] | None:
        """As `cost`, for an object that is in no manifest any more: now, and when it is gone."""
        return None
