"""Images of one small layer, pushed over HTTP into an account, for tests of what runs containers."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Any

import httpx
from embedded_account import RunningAccount


def push(account: RunningAccount, path: str, content: str, **config: Any) -> str:
    """Push `/db/schema/repository/image:tag`, which sleeps unless told otherwise; its digest."""
    details = account.details
    repository, _, image = path.strip("/").rpartition("/")
    settings = {"Entrypoint": ["sleep", "1000000"], **config}
    url = f"http://{details['host']}:{details['port']}"
    return push_image(url, (details["user"], details["password"]), repository, image, {"content.txt": content}, settings)


def layer(files: dict[str, str]) -> bytes:
    """A tar+gzip layer of text files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            content = text.encode()
            member.size = len(content)
            member.mode = 0o755
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def push_image(url: str, auth: tuple[str, str], repository: str, image: str, files: dict[str, str], config: dict[str, Any]) -> str:
    """Push `image` (`name:tag`) as one layer with the given configuration (Entrypoint, Cmd, Env, WorkingDir)."""
    name, _, tag = image.partition(":")
    with httpx.Client(base_url=url, auth=auth, trust_env=False) as client:
        base = f"/v2/{repository}/{name}"

        def blob(content: bytes) -> dict[str, Any]:
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            if client.head(f"{base}/blobs/{digest}").status_code != 200:
                location = client.post(f"{base}/blobs/uploads/").raise_for_status().headers["location"]
                client.put(location, params={"digest": digest}, content=content).raise_for_status()
            return {"digest": digest, "size": len(content)}

        document = {"architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": []}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(document).encode())},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob(layer(files))}],
        }
        answer = client.put(f"{base}/manifests/{tag}", content=json.dumps(manifest), headers={"Content-Type": manifest["mediaType"]})
        return str(answer.raise_for_status().headers["docker-content-digest"])
