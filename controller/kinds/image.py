"""Image: built from a folder's files, tagged by the hash of all that goes in, pushed to a repository of the account.

A tag never moves: other content is another tag. So an image is in sync exactly when the repository shows the wanted tag, and whoever
refers to it gets the tag in its own specification. Without a Docker engine, and only for the embedded account, the image is made of COPY,
ENV, WORKDIR, ENTRYPOINT and CMD; FROM and RUN are not executed, and the status says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import controller
from controller.account import statements as sql
from controller.account.snapshot import Row, Show
from controller.api.image import Image, ImageSpec
from controller.api.names import QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.kinds.base import Effect, EffectContext, FieldChange, Gatherer, Health, Kind, Observation, Stalled, Step, View, Waiting
from controller.kinds.images import dockerfile, oci
from controller.kinds.images.files import BuildContext, ImagePlan, content_hash, plan_image
from controller.kinds.images.ignore_file import IgnoreRules
from controller.kinds.images.registry_client import RegistryClient, RegistryRefused, RegistryUnreachable
from controller.kinds.references import name_of, schema_scope

REGISTRY_USER = "0sessiontoken"
_ALWAYS_IGNORED = ("**/__pycache__", "**/*.pyc", "**/.DS_Store")


@dataclass(frozen=True)
class BuildSource:
    """Where an image is built from."""

    dockerfile: Path
    context: Path
    target: str | None
    build_args: tuple[tuple[str, str], ...]
    platform: str

    def plan(self) -> ImagePlan:
        """Read the Dockerfile and walk through the context.

        Raises:
            Stalled: the Dockerfile or the context cannot be used; the message names file and line.
        """
        arguments = dict(self.build_args)
        try:
            parsed = dockerfile.parse(self.dockerfile.read_text(encoding="utf-8"), arguments)
            return plan_image(parsed, BuildContext(self.context, self._ignored()), self.target, arguments, self.platform)
        except dockerfile.DockerfileError as error:
            line, _, message = str(error).partition(": ")
            raise Stalled(f"{self.dockerfile}:{line.removeprefix('line ')}: {message}", "BadDockerfile") from None
        except (OSError, UnicodeDecodeError) as error:
            raise Stalled(f"{self.dockerfile}: cannot be read: {error}", "BadDockerfile") from None

    def _ignored(self) -> IgnoreRules:
        """Docker's order: the Dockerfile's own ignore file, else the one at the context's root."""
        for path in (self.dockerfile.with_name(self.dockerfile.name + ".dockerignore"), self.context / ".dockerignore"):
            if path.is_file():
                return IgnoreRules.parse([*path.read_text(encoding="utf-8").splitlines(), *_ALWAYS_IGNORED])
        return IgnoreRules.parse(_ALWAYS_IGNORED)


@dataclass(frozen=True)
class ImageFact:
    """What the files say: the content tag, and what a plan shows of the build."""

    source: BuildSource
    hash: str
    path: str  # /db/schema/repository/image:tag
    files: int
    bytes: int
    not_executed: tuple[str, ...]

    @property
    def tag(self) -> str:
        return f"c-{self.hash[:12]}"


def builtin_source(name: str, build_args: Mapping[str, str], platform: str) -> BuildSource:
    """The sources of an image that Snowcat ships: beside the installed packages, with the Dockerfile of the repository or of the wheel."""
    root = Path(controller.__file__).parent.parent
    choices = (root / "Dockerfile", root / "controller" / "templates" / "Dockerfile")
    for path in choices:
        if path.is_file():
            return BuildSource(path, root, name, tuple(sorted(build_args.items())), platform)
    raise Stalled(f"this installation of Snowcat lacks its Dockerfile ({choices[-1]}); install it again", "BrokenInstallation")


def source_of(obj: DesiredObject) -> BuildSource:
    """Where the image of a manifest is built from; paths are relative to the manifest."""
    spec = cast(ImageSpec, obj.manifest.spec)
    if spec.builtin is not None:
        return builtin_source(spec.builtin, spec.build_args, spec.platform)
    context = (obj.location.file.parent / (spec.context or ".")).resolve()
    if not context.is_dir():
        raise Stalled(f"{obj.location}: context {context} is not a folder", "BadContext")
    return BuildSource(
        context / (spec.dockerfile or "Dockerfile"), context, spec.target, tuple(sorted(spec.build_args.items())), spec.platform
    )


def image_path(obj: DesiredObject, field: str, written: str, view: View) -> str:
    """The path that a specification names: the current tag of an `Image`, or the path as it is written.

    Raises:
        KindError: the image's files cannot be read, or it is not one of this project.
    """
    key = obj.references.get(field)
    if key is None:
        return written
    fact = view.fact(key)
    if not isinstance(fact, ImageFact):
        raise Stalled(
            f"{obj.location}: {field}: {key} is not declared in this project; write the image's path /db/schema/repository/image:tag"
        )
    return fact.path


def image_fact(obj: DesiredObject) -> ImageFact:
    """Hash all that goes into the image of a manifest. Raises Stalled, as `BuildSource.plan`."""
    source = source_of(obj)
    plan = source.plan()
    digest = content_hash(plan)
    folder = "/".join(part.text.lower() for part in name_of(obj, "repository").parts)
    path = f"/{folder}/{obj.key.name.name.text.lower()}:c-{digest[:12]}"
    return ImageFact(source, digest, path, len(plan.files), plan.bytes, plan.not_executed)


@dataclass(frozen=True)
class BuildAndPush(Effect):
    """Make the image of files and push it."""

    name: str
    fact: ImageFact
    repository: QualifiedName
    local: bool

    def __str__(self) -> str:
        return f"build image {self.name} ({self.fact.files} files, {self.fact.bytes / 1000:.0f} kB) and push {self.fact.path}"

    def run(self, context: EffectContext) -> None:
        if not self.local:
            raise Stalled(
                f"building image {self.name} for a Snowflake account needs a Docker engine, which this version does not use yet; "
                f"build {self.fact.source.dockerfile} with Docker and push it as {self.fact.path}, "
                f"then run `snowcat reconcile Image/{self.name}`",
                "NeedsEngine",
            )
        plan = self.fact.source.plan()
        if content_hash(plan) != self.fact.hash:
            raise Waiting(f"the files of image {self.name} changed while it was planned; looking again")
        context.progress(f"building image {self.name}")
        image = oci.build(plan, context.workdir)
        host = self._registry_host(context)
        client = RegistryClient(f"http://{host}", lambda: (REGISTRY_USER, context.session.registry_password()))
        repository, _, tag = self.fact.path.removeprefix("/").rpartition(":")
        try:
            client.push(repository, tag, image, context.progress)
        except RegistryRefused as error:
            raise Stalled(f"the registry refused image {self.name}: {error}", "PushRefused") from None
        except RegistryUnreachable as error:
            raise Waiting(str(error)) from None

    def _registry_host(self, context: EffectContext) -> str:
        rows = context.session.execute(Show("IMAGE REPOSITORIES", schema_scope(self.repository)).sql).rows
        for row in rows:
            if row.get("name") == self.repository.name.text:
                return str(row["repository_url"]).partition("/")[0]
        raise Waiting(f"image repository {self.repository} is not there yet")


class ImageKind(Kind):
    name = "Image"
    manifest = Image

    def gather(self, obj: DesiredObject, graph: Graph, gatherer: Gatherer) -> ImageFact:
        return image_fact(obj)

    def reads(self, obj: DesiredObject, graph: Graph) -> Iterable[Show]:
        return (_show(obj),)

    def observe(self, obj: DesiredObject, view: View) -> Observation:
        fact = _fact(obj, view)
        rows = [row for row in view.snapshot.rows(_show(obj)) if _image_name(row) == obj.key.name.name.text.lower()]
        if not rows:
            return Observation(exists=False, health=Health.MISSING, message="not pushed yet", reason="Missing", markable=False)
        found = next((row for row in rows if fact.tag in _tags(row)), None)
        if found is None:
            latest = max(rows, key=lambda row: str(row.get("created_on")))
            change = FieldChange("tag", ", ".join(_tags(latest)), fact.tag)
            return Observation(exists=True, message="its files changed", reason="ContentChanged", drift=(change,), markable=False)
        lines = len(fact.not_executed)
        message = f"{fact.tag}, {fact.files} files"
        if view.project.local and lines:
            message += "; FROM and RUN were not executed (no engine)"
        observed = {"path": fact.path, "digest": found.get("digest"), "files": fact.files, "notExecuted": list(fact.not_executed)}
        return Observation(exists=True, message=message, reason="Pushed", observed=observed, markable=False)

    def create(self, obj: DesiredObject, view: View) -> Sequence[Step]:
        name = str(obj.key).partition("/")[2]
        return (BuildAndPush(name, _fact(obj, view), name_of(obj, "repository"), view.project.local or view.snapshot.offline),)

    def update(self, obj: DesiredObject, seen: Observation, view: View) -> Sequence[Step]:
        return self.create(obj, view)

    def delete(self, key: ObjectKey, view: View) -> Sequence[Step]:
        """Nothing: single images cannot be deleted, they go with their repository."""
        return ()


def _fact(obj: DesiredObject, view: View) -> ImageFact:
    return cast(ImageFact, view.fact(obj.key))


def _show(obj: DesiredObject) -> Show:
    return Show("IMAGES", sql.on_object("IMAGE REPOSITORY", name_of(obj, "repository")))


def _image_name(row: Row) -> str:
    return str(row.get("image_name", "")).lower()


def _tags(row: Row) -> list[str]:
    """One tag a row is what the documentation shows; a list is understood too."""
    return [tag.strip(" \"'[]") for tag in str(row.get("tags") or "").split(",")]
