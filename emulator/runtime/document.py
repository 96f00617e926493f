"""What a service specification may hold, as one table. The order of fields is also the order in which DESCRIBE SERVICE prints them.

Source: docs.snowflake.com, developer-guide/snowpark-container-services/ specification-reference, scaling-services, block-storage-volume.
"""

from __future__ import annotations

from emulator.runtime.schema import (
    Fields,
    Items,
    absolute_path,
    amount,
    boolean,
    cpu,
    environment,
    integer,
    matching,
    memory,
    name,
    one_of,
    port,
    port_range,
    secret_reference,
    text,
)

_PROBE = Fields({"port": port, "path": text, "periodSeconds": integer, "failureThreshold": integer}, ("port", "path"))
_QUANTITIES = Fields({"memory": memory, "cpu": cpu, "nvidia.com/gpu": integer})
_RESOURCES = Fields({"limits": _QUANTITIES, "requests": _QUANTITIES})
_SECRET = Fields(
    {
        "snowflakeSecret": secret_reference,
        "directoryPath": absolute_path,
        "envVarName": text,
        "secretKeyRef": one_of("username", "password", "secret_string"),
    },
    ("snowflakeSecret",),
)
_TOKEN = Fields(
    {
        "path": matching(r"(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+", "a plain absolute path"),
        "permission": matching(r"0[0-7]{3}", 'a quoted mode such as "0600"'),
        "mountConnectionConfig": boolean,
    }
)
_CONTAINER = Fields(
    {
        "name": name,
        "image": text,
        "command": Items(text),
        "args": Items(text),
        "env": environment,
        "readinessProbe": _PROBE,
        "livenessProbe": _PROBE,
        "volumeMounts": Items(Fields({"name": name, "mountPath": absolute_path}, ("name", "mountPath"))),
        "resources": _RESOURCES,
        "mountSessionToken": boolean,
        "sessionTokenConfig": _TOKEN,
        "secrets": Items(_SECRET, 50),
    },
    ("name", "image"),
)
_ORIGIN = matching(r"https?://[^/?#\s*]+/?", "an origin such as https://example.com, without '*'")
_CORS = Fields(
    {
        "Access-Control-Allow-Origin": Items(_ORIGIN),
        "Access-Control-Allow-Methods": Items(text),
        "Access-Control-Allow-Headers": Items(text),
        "Access-Control-Expose-Headers": Items(text),
    },
    ("Access-Control-Allow-Origin",),
)
_ENDPOINT = Fields(
    {
        "name": name,
        "port": port,
        "portRange": port_range,
        "protocol": one_of("HTTP", "HTTPS", "TCP"),
        "public": boolean,
        "corsSettings": _CORS,
    },
    ("name",),
)
_BLOCK = Fields(
    {
        "initialContents": Fields({"fromSnapshot": text}, ("fromSnapshot",)),
        "iops": integer,
        "throughput": integer,
        "encryption": one_of("SNOWFLAKE_SSE", "SNOWFLAKE_FULL"),
        "snapshotOnDelete": boolean,
        "snapshotDeleteAfter": matching(r"[1-9]\d*[hd]", "hours or days such as 48h or 7d"),
    }
)
_STAGE = Fields(
    {"name": text, "metadataCache": matching(r"(?=.)(\d+h)?(\d+m)?(\d+s)?", "a duration such as 1h30m"), "resources": _RESOURCES},
    ("name",),
)
_VOLUME = Fields(
    {
        "name": name,
        "source": text,
        "size": text,
        "uid": integer,
        "gid": integer,
        "blockConfig": _BLOCK,
        "stageConfig": _STAGE,
    },
    ("name", "source"),
)
_STEP = Fields({"lowerBound": amount, "upperBound": amount, "targetAdjustment": integer}, ("targetAdjustment",))
_STEPS = Fields(
    {
        "adjustmentType": one_of("changeInstanceCount", "exactInstanceCount", "percentChangeInstanceCount"),
        "scalingSteps": Items(_STEP),
    },
    ("adjustmentType", "scalingSteps"),
)
_METRIC = Fields(
    {
        "metricName": text,
        "labels": environment,
        "aggregationType": one_of("min", "max", "avg"),
        "stabilizationPeriodSecs": integer,
        "targetScaling": Fields({"targetValue": amount}, ("targetValue",)),
        "stepScaling": _STEPS,
    },
    ("metricName", "aggregationType", "stabilizationPeriodSecs"),
)
_CONDITIONS = Items(Fields({"metricCondition": _METRIC}, ("metricCondition",)))
_POLICIES = Fields(
    {
        "scaleUp": Fields({"anyConditions": _CONDITIONS}, ("anyConditions",)),
        "scaleDown": Fields({"allConditions": _CONDITIONS}, ("allConditions",)),
        "suspend": Fields({"allConditions": _CONDITIONS}, ("allConditions",)),
    }
)
DOCUMENT = Fields(
    {
        "spec": Fields(
            {
                "containers": Items(_CONTAINER, 20),
                "endpoints": Items(_ENDPOINT, 100),
                "volumes": Items(_VOLUME, 20),
                "logExporters": Fields({"eventTableConfig": Fields({"logLevel": one_of("INFO", "ERROR", "NONE")})}),
                "platformMonitor": Fields({"metricConfig": Fields({"groups": Items(text)}, ("groups",))}, ("metricConfig",)),
                "resourceManagement": Fields({"autoScalingPolicies": _POLICIES}, ("autoScalingPolicies",)),
            },
            ("containers",),
            (
                ("container", "containers"),
                ("endpoint", "endpoints"),
                ("volume", "volumes"),
                ("networkPolicyConfig", "EXTERNAL_ACCESS_INTEGRATIONS of the service"),
            ),
        ),
        "capabilities": Fields({"securityContext": Fields({"executeAsCaller": boolean, "enableCustomCredentials": boolean})}),
        "serviceRoles": Items(Fields({"name": text, "endpoints": Items(text)}, ("name", "endpoints"))),
    },
    ("spec",),
)
