"""The image digest behind a tag. A digest is resolved at CREATE SERVICE and ALTER … FROM only: when somebody pushes other content under
the same tag, the service runs on with the old one until it is altered.

What was resolved then is noted in the mark (`images=main:0123456789ab`), from the `sha256` of DESCRIBE. A steady look compares that with
SHOW IMAGES, one for each repository; only where the two disagree is the service described again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.account.snapshot import Show, Snapshot
from controller.api.names import NameProblem, QualifiedName
from controller.api.objects import DesiredObject, Graph, ObjectKey
from controller.api.specification import ImageReference
from controller.kinds.references import name_of
from controller.kinds.services.comparison import Document, image_path

_DIGITS = 12
_SYSTEM = "SNOWFLAKE"  # the database of Snowflake's own images, which cannot be listed


def repository_of(image: str) -> QualifiedName | None:
    """The repository of a path `/db/schema/repository/image:tag`; None where it is not one of the account's own."""
    parts = image_path(image).strip("/").split("/")
    try:
        name = QualifiedName.parse(".".join(parts[:3])) if len(parts) >= 4 else None
    except NameProblem:
        return None
    return None if name is None or name.parts[0].text == _SYSTEM else name


def images_in(repository: QualifiedName) -> Show:
    return Show("IMAGES", f"IMAGE REPOSITORY {repository.sql}")


def image_reads(obj: DesiredObject, graph: Graph) -> list[Show]:
    """The SHOWs for the images that the manifest's own specification names."""
    specification = obj.manifest.spec.specification
    found: set[QualifiedName] = set()
    for number, container in enumerate(specification.spec.containers if specification is not None else ()):
        if isinstance(container.image, ImageReference):
            image = graph.get(obj.references.get(f"specification.spec.containers[{number}].image.ref", ObjectKey("", QualifiedName(()))))
            if image is not None:
                found.add(name_of(image, "repository"))
        elif (repository := repository_of(container.image)) is not None:
            found.add(repository)
    return [images_in(name) for name in sorted(found)]


def repositories(document: Document) -> list[QualifiedName]:
    """The account's repositories that a whole specification takes images from."""
    containers = (document.get("spec") or {}).get("containers") or []
    return sorted({name for one in containers if (name := repository_of(str(one.get("image", "")))) is not None})


def current_digests(document: Document, snapshot: Snapshot) -> dict[str, str]:
    """Container → digest that its tag has now, as far as SHOW IMAGES was asked and tells."""
    found = {}
    for container in (document.get("spec") or {}).get("containers") or []:
        path = image_path(str(container.get("image", "")))
        repository = repository_of(path)
        if repository is None or snapshot.offline or not snapshot.asked(images_in(repository)):
            continue
        wanted = path.strip("/")
        for row in snapshot.rows(images_in(repository)):
            if image_path("/" + str(row.get("image_path", ""))).strip("/") == wanted and row.get("digest"):
                found[str(container.get("name"))] = str(row["digest"])
    return found


def noted(digests: Mapping[str, str]) -> str:
    """The attribute of the mark."""
    return ",".join(f"{name}:{_short(digest)}" for name, digest in sorted(digests.items()))


def read_note(attribute: str) -> dict[str, str]:
    pairs = (part.partition(":") for part in attribute.split(",") if part)
    return {name: digest for name, _, digest in pairs}


def moved(known: Mapping[str, str], now: Mapping[str, str]) -> Iterable[tuple[str, str, str]]:
    """Container, digest that runs, digest behind the tag now; only where both are known and differ."""
    for name, digest in sorted(now.items()):
        if name in known and _short(known[name]) != _short(digest):
            yield name, _short(known[name]), _short(digest)


def _short(digest: str) -> str:
    return digest.removeprefix("@").removeprefix("sha256:")[:_DIGITS]
