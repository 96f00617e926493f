"""How a stored specification reads back: the normalised YAML text of DESCRIBE SERVICE, its digest, and templates.

Form after the sample of the DESCRIBE SERVICE page: opening `---`, quoted text, bare numbers and booleans, list dashes not indented,
`sha256` behind each image, resources filled in.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from emulator.runtime.families import InstanceFamily
from emulator.runtime.schema import SpecError
from emulator.runtime.spec import Resources, ServiceSpec
from emulator.runtime.units import format_cpu, format_memory, parse_cpu, parse_memory

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?:\|\s*default\(\s*(.*?)\s*\)\s*)?\}\}")


def describe_spec(spec: ServiceSpec, digests: dict[str, str], family: InstanceFamily, host: str = "") -> str:
    """The text of the `spec` column. `digests` maps container names to image digests; with `host` images are shown in full."""
    document = json.loads(json.dumps(spec.document))
    for raw, container in zip(document["spec"]["containers"], spec.containers, strict=True):
        taken = container.takes(family)
        raw["resources"] = _resources(container.limits, taken, Resources.of_node(family))
        shown = raw.pop("image")
        if host and shown.startswith("/"):
            shown = host + shown
        image = {"image": shown, "sha256": f"@{digests[container.name]}"}
        name = raw.pop("name")
        rest = dict(raw)
        raw.clear()
        raw.update({"name": name, **image, **rest})
    return "---\n" + _emit(document, 0) + "\n"


def spec_digest(spec: ServiceSpec, digests: dict[str, str], family: InstanceFamily) -> str:
    """64 hex digits that change whenever the specification or an image behind it does."""
    return hashlib.sha256(describe_spec(spec, digests, family).encode()).hexdigest()


def emit(document: dict[str, Any]) -> str:
    """A document as DESCRIBE prints it."""
    return _emit(document, 0)


def _resources(limits: dict[str, Any], taken: Resources, node: Resources) -> dict[str, Any]:
    memory = min(parse_memory(limits["memory"]) if "memory" in limits else node.memory, node.memory)
    cpu = min(parse_cpu(limits["cpu"]) if "cpu" in limits else node.cpu, node.cpu)
    gpu = {"nvidia.com/gpu": taken.gpu} if taken.gpu else {}
    return {
        "limits": {"memory": format_memory(memory), "cpu": format_cpu(cpu), **gpu},
        "requests": {"memory": format_memory(taken.memory), "cpu": format_cpu(taken.cpu), **gpu},
    }


def _emit(value: Any, depth: int) -> str:
    """YAML block text of a mapping or list at an indentation depth (two blanks each)."""
    pad = "  " * depth
    lines = []
    if isinstance(value, dict):
        for key, inner in value.items():
            label = key if re.match(r"^[A-Za-z_][\w./-]*$", key) else json.dumps(key)
            if isinstance(inner, dict) and inner:
                lines.append(f"{pad}{label}:\n{_emit(inner, depth + 1)}")
            elif isinstance(inner, list) and inner:
                lines.append(f"{pad}{label}:\n{_emit(inner, depth)}")
            else:
                lines.append(f"{pad}{label}: {_scalar(inner)}\n")
        return "".join(lines)
    for item in value:
        if isinstance(item, (dict, list)) and item:
            body = _emit(item, depth + 1)
            lines.append(f"{pad}- {body.lstrip(' ')}")
        else:
            lines.append(f"{pad}- {_scalar(item)}\n")
    return "".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def render_template(template: str, values: dict[str, Any]) -> str:
    """Fill `{{ name }}` and `{{ name | default('x') }}` (a second argument `true` also replaces blanks).

    Raises SpecError for a name without a value.
    """

    def replace(match: re.Match[str]) -> str:
        key, default = match[1], match[2]
        value = values.get(key.upper(), values.get(key))
        if default is not None:
            text, _, also_blank = default.rpartition(",") if re.search(r",\s*true\s*$", default) else (default, "", "")
            if value is None or (also_blank and not str(value).strip()):
                return text.strip().strip("'\"")
        if value is None:
            raise SpecError(f"no value for the variable '{key}'")
        if isinstance(value, bool):
            return "true" if value else "false"
        return json.dumps(value) if isinstance(value, (dict, list)) else str(value)

    return _VARIABLE.sub(replace, template)
