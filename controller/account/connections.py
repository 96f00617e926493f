"""Which account, and as whom: a named connection, found where the `snow` command line finds it.

Order, first wins per key: what the caller gives, `SNOWFLAKE_CONNECTIONS_<NAME>_<KEY>`, the named section of `connections.toml` (or of
`[connections]` in `config.toml`), the general `SNOWFLAKE_<KEY>`. Inside Snowpark Container Services the session token is used when nothing
else is named.

The files are read here and not by the driver's own config manager, which fixes its paths when it is imported and is gone from the 5.x line.
Source: docs.snowflake.com, developer-guide/snowflake-cli/connecting/configure-connections.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from controller.account.connection_files import Found, find_section, lab_file
from controller.account.driver import DatabaseError, OperationalError, connector
from controller.account.driver_errors import from_driver
from controller.account.errors import AccountError, LoginFailed, Transient
from controller.account.redact import redact

LOGIN_TIMEOUT = 15
"""Seconds for one login. The driver's own 120 would leave a person in front of a silent terminal."""

PATIENCE = 15
"""Seconds of trying a request again after the network failed. Without a limit the driver tries for ever, and says nothing of it."""

SESSION_TOKEN = Path("/snowflake/session/token")

KEYS = (
    "account", "user", "password", "role", "warehouse", "database", "schema", "host", "port", "protocol", "region", "authenticator",
    "private_key_file", "private_key_path", "private_key_file_pwd", "private_key_passphrase", "token", "token_file_path", "passcode",
    "passcode_in_password", "oauth_client_id", "oauth_client_secret", "oauth_token_request_url", "oauth_authorization_url", "oauth_scope",
    "workload_identity_provider", "login_timeout", "network_timeout", "insecure_mode", "ocsp_fail_open",
    "client_store_temporary_credential",
)  # fmt: skip
"""Keys of a connection that Snowcat passes on. Others of the file are left alone: they belong to other tools."""

DRIVER_RETRIES = int(connector.__version__.split(".")[0]) < 5
"""Whether the driver tries a failed request again for ever if nothing is said. The 5.x line ends by itself, after two minutes."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 4.0  # seconds between two tries of a request
_JITTER = 0.3  # share by which a wait may be shorter
_NO_ANSWER = 251011  # ER_CONNECTION_TIMEOUT

_SECRET_KEYS = ("password", "token", "private_key_file_pwd", "passcode", "oauth_client_secret", "private_key_raw")
_OTHER_NAMES = {
    "accountname": "account", "username": "user", "rolename": "role", "warehousename": "warehouse", "dbname": "database",
    "databasename": "database", "schemaname": "schema",
    "private_key_path": "private_key_file", "private_key_passphrase": "private_key_file_pwd",
}  # fmt: skip
_NOT_PASSED = frozenset({"warehouse", "database", "schema"})  # every statement names its objects in full; no warehouse unless asked for
_TEXTS = ("account", "user", "password", "role", "host", "protocol", "region", "authenticator", "private_key_file", "token")
_WHOLE_NUMBERS = frozenset({"port", "login_timeout", "network_timeout"})


@dataclass(frozen=True)
class Connection:
    """Everything to open a session. `source` says in words where it came from. Secrets are in no repr, str or exception."""

    name: str
    source: str
    parameters: Mapping[str, Any] = field(repr=False)
    warnings: tuple[str, ...] = ()
    mend: str = ""  # what to do when nobody answers, where more can be said than of any account

    @property
    def account(self) -> str:
        return str(self.parameters.get("account", ""))

    @property
    def user(self) -> str:
        return str(self.parameters.get("user", ""))

    @property
    def role(self) -> str | None:
        return self.parameters.get("role")

    @property
    def warehouse(self) -> str | None:
        return self.parameters.get("warehouse")

    @property
    def address(self) -> str:
        """Host and port as the driver will use them."""
        host = self.parameters.get("host") or f"{self.account}.snowflakecomputing.com"
        return f"{host}:{self.parameters.get('port', 443)}"

    def secrets(self) -> list[str]:
        """Values that must never be shown."""
        return [str(self.parameters[key]) for key in _SECRET_KEYS if self.parameters.get(key)]

    def driver_arguments(self) -> dict[str, Any]:
        """Keyword arguments for `snowflake.connector.connect`. A token file is read anew each time, since tokens in it are replaced.

        Raises:
            LoginFailed: something needed is missing or a file cannot be read.
        """
        arguments = {key: value for key, value in self.parameters.items() if key not in _NOT_PASSED}
        token_file = arguments.pop("token_file_path", None)
        if token_file and not arguments.get("token"):
            arguments["token"] = self._read_token(Path(str(token_file)).expanduser())
        self._check(arguments)
        if key_file := arguments.get("private_key_file"):
            arguments["private_key_file"] = str(Path(str(key_file)).expanduser())
        arguments.setdefault("login_timeout", LOGIN_TIMEOUT)
        if DRIVER_RETRIES:
            arguments["backoff_policy"] = self._backoff
        arguments.update(application="snowcat", client_session_keep_alive=False)
        return arguments

    def _backoff(self) -> Iterator[float]:
        """Seconds between two tries of a request, some of them shorter, so that many sessions do not come back at once.

        The driver's `network_timeout` is no way to end them: it also cancels statements that run longer.

        Raises:
            OperationalError: in place of one more try, `PATIENCE` seconds after the first.
        """
        wait, begun = _FIRST_WAIT, None
        while begun is None or time.monotonic() - begun < PATIENCE:
            yield wait * (1 - _JITTER * random.random())  # noqa: S311 - no secret
            begun = begun if begun is not None else time.monotonic()
            wait = min(2 * wait, _LONGEST_WAIT)
        message = f"the account at {self.address} did not answer for {PATIENCE} seconds: {self.if_silent}"
        raise OperationalError(msg=message, errno=_NO_ANSWER)

    @property
    def if_silent(self) -> str:
        """What a person may do when the account does not answer."""
        return self.mend or f"check the network, a proxy, and the `account` of {self._where()}"

    def _read_token(self, path: Path) -> str:
        try:
            token = path.read_text().strip()
        except OSError as error:
            raise LoginFailed(f"{self._where()}: token_file_path {path} cannot be read: {error.strerror}") from None
        redact.learn([token])
        return token

    def _check(self, arguments: Mapping[str, Any]) -> None:
        wrong = next((key for key in _TEXTS if not isinstance(arguments.get(key, ""), str)), None)
        if wrong:
            raise LoginFailed(f"{self._where()}: `{wrong}` must be a text in quotes")
        wrong = next((key for key in sorted(_WHOLE_NUMBERS) if type(arguments.get(key, 0)) is not int), None)
        if wrong:
            raise LoginFailed(f"{self._where()}: `{wrong}` must be a whole number")
        method = str(arguments.get("authenticator", "snowflake")).upper()
        if not arguments.get("account"):
            raise LoginFailed(f"{self._where()} names no account: set `account` to <organisation>-<account>")
        if not arguments.get("user") and method in {"SNOWFLAKE", "SNOWFLAKE_JWT", "USERNAME_PASSWORD_MFA", "EXTERNALBROWSER"}:
            raise LoginFailed(f"{self._where()} names no user")
        key_file = arguments.get("private_key_file")
        if key_file and not Path(str(key_file)).expanduser().is_file():
            raise LoginFailed(f"{self._where()}: private_key_file {key_file} does not exist")
        if method == "SNOWFLAKE_JWT" and not key_file:
            raise LoginFailed(f"{self._where()}: authenticator SNOWFLAKE_JWT needs private_key_file")
        if method in {"OAUTH", "PROGRAMMATIC_ACCESS_TOKEN"} and not arguments.get("token"):
            raise LoginFailed(f"{self._where()}: authenticator {method} needs token or token_file_path")
        if method == "SNOWFLAKE" and not (arguments.get("password") or key_file):
            variable = f"SNOWFLAKE_CONNECTIONS_{self.name.upper()}_PASSWORD"
            raise LoginFailed(f"{self._where()} has no password, private_key_file or token: add one, or set {variable}")

    def _where(self) -> str:
        return f"connection {self.name!r} ({self.source})"

    def explain(self, error: Exception, *, role: str | None = None) -> AccountError:
        """An error of logging in as one of ours, with what to check.

        Unreachable is `Transient`; every other answer is a refusal, `LoginFailed`.
        """
        found = from_driver(error, None)
        text = redact(found.message).replace("\n", " ").strip(" .")
        refused = isinstance(error, DatabaseError) and not isinstance(error, OperationalError)  # 250001 alone does not tell in the 5.x line
        unreachable = isinstance(found, Transient) or (
            isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError)
        )
        if unreachable and not refused:
            cause = "" if self.mend else f" ({text})"
            return Transient(
                f"the account at {self.address} did not answer{cause}: {self.if_silent}",
                errno=found.errno, sqlstate=found.sqlstate,
            )  # fmt: skip
        checks = {"account": self.account, "user": self.user, "role": role or self.role}
        shown = ", ".join(f"{key} {value!r}" for key, value in checks.items() if value)
        secret = self._secret_in_use()
        return LoginFailed(
            f"the account refused the login: {text}. Check {shown} and the {secret} of {self._where()}",
            errno=found.errno, sqlstate=found.sqlstate,
        )  # fmt: skip

    def _secret_in_use(self) -> str:
        if self.parameters.get("private_key_file"):
            return "private key"
        if self.parameters.get("token") or self.parameters.get("token_file_path"):
            return "token"
        return "password" if self.parameters.get("password") else "sign-in"


def find_connection(name: str | None = None, *, environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Connection:
    """The connection of that name, or the default one.

    A `name` that ends in `.json` is a file as the lab had it. `directory` is where a stray `connection.json` is looked for (default: here).

    Raises:
        LoginFailed: no such connection, or a file is broken; the message names the files and the known names.
    """
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    if name is not None and name.endswith(".json"):
        return _from(lab_file(Path(name).expanduser()), environ)
    general = _general(environ)
    wanted = name or environ.get("SNOWFLAKE_DEFAULT_CONNECTION_NAME")
    if wanted is None and _inside_a_service(environ, general):
        return inside_a_service(environ)
    found = find_section(wanted, environ, known_by_environment=set(_named(wanted, environ)) if wanted else set())
    if found is not None:
        return _from(found, environ)
    if general.get("account"):
        return Connection("environment", "SNOWFLAKE_* variables", general)
    stray = directory / "connection.json"
    if stray.is_file():
        return _from(lab_file(stray), environ)
    raise LoginFailed(
        "no connection: add one with `snow connection add` (or write ~/.snowflake/connections.toml) and name it with -c, "
        "set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PASSWORD, or use --local"
    )


def local_connection(account: Mapping[str, Any]) -> Connection:
    """The connection to an embedded account, from its `account.json`."""
    keys = ("account", "user", "password", "host", "port", "protocol")
    mend = "it is the embedded account, and seems to be down: 'snowcat local start' starts it"
    return Connection("local", "the embedded account", {key: account[key] for key in keys}, mend=mend)


def inside_a_service(environ: Mapping[str, str], token_file: Path = SESSION_TOKEN) -> Connection:
    """The connection of a container in Snowpark Container Services: its session token, which is replaced every few minutes."""
    parameters: dict[str, Any] = {
        "account": environ.get("SNOWFLAKE_ACCOUNT", ""),
        "host": environ["SNOWFLAKE_HOST"],
        "port": int(environ.get("SNOWFLAKE_PORT", "443")),
        "protocol": environ.get("SNOWFLAKE_PROTOCOL", "https"),
        "authenticator": "OAUTH",
        "token_file_path": str(token_file),
    }
    return Connection("service", f"session token {token_file}", parameters)


def _inside_a_service(environ: Mapping[str, str], general: Mapping[str, Any]) -> bool:
    own_login = {"user", "password", "token", "token_file_path", "authenticator"} & general.keys()
    return "SNOWFLAKE_HOST" in environ and SESSION_TOKEN.is_file() and not own_login


def _from(found: Found, environ: Mapping[str, str]) -> Connection:
    merged = {**_general(environ), **_normal(found.values), **_named(found.name, environ)}
    if found.values.get("authenticator") and not _named(found.name, environ).get("password") and "password" not in _normal(found.values):
        merged.pop("password", None)  # a general SNOWFLAKE_PASSWORD is not for a connection that signs in by other means
    return Connection(found.name, found.source, merged, found.warnings)


def _general(environ: Mapping[str, str]) -> dict[str, Any]:
    return _normal({key: environ[f"SNOWFLAKE_{key.upper()}"] for key in KEYS if environ.get(f"SNOWFLAKE_{key.upper()}")})


def _named(name: str, environ: Mapping[str, str]) -> dict[str, Any]:
    prefix = f"SNOWFLAKE_CONNECTIONS_{name.upper()}_"
    return _normal({key: environ[prefix + key.upper()] for key in KEYS if environ.get(prefix + key.upper())})


def _normal(values: Mapping[str, Any]) -> dict[str, Any]:
    """Known keys under the driver's own names, whole numbers as such, secrets made known to the redactor."""
    result: dict[str, Any] = {}
    for written, value in values.items():
        key = _OTHER_NAMES.get(written.lower(), written.lower())
        if key in KEYS and value is not None and value != "":
            result[key] = int(value) if key in _WHOLE_NUMBERS and str(value).isdigit() else value
    redact.learn(str(result[key]) for key in _SECRET_KEYS if result.get(key))
    return result
