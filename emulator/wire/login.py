"""Login: who may open a session, by password, OAuth token, programmatic access token or key pair."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from emulator.catalogue.store import CatalogueObject
from emulator.session import Session

if TYPE_CHECKING:
    from emulator.account import Account

_ROUNDS = 20_000


class LoginError(Exception):
    """Login refused. `code` is the wire code (390100 …)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def hash_password(password: str) -> str:
    """A salted hash, for the user's catalogue entry."""
    salt = os.urandom(16)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    return f"{salt.hex()}${digest.hex()}"


def check_password(password: str, stored: str | None) -> bool:
    """Whether the password fits the stored hash; False when none is set."""
    if not stored:
        return False
    salt, digest = stored.split("$")
    candidate = hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), _ROUNDS)
    return hmac.compare_digest(candidate.hex(), digest)


def public_key_fingerprint(key: str) -> str:
    """`SHA256:…` of a public key given as base64 DER (PEM armour is tolerated). Raises ValueError."""
    der = _der(key)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def _der(key: str) -> bytes:
    lines = [line for line in key.split("\n") if line and not line.startswith("-----")]
    loaded = load_der_public_key(base64.b64decode("".join(lines)))
    return loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def log_in(account: Account, data: dict[str, Any], query: dict[str, str]) -> Session:
    """A new session (not yet opened) for the login request's `data` and URL `query`. Raises LoginError."""
    user, fixed_role = _authenticate(account, data)
    record = account.store.find("USER", "", "", user)
    if record is not None and record.props.get("disabled"):
        raise LoginError(390101, "User access disabled. Contact your local system administrator.")
    session = _session(account, user, fixed_role, query)
    session.client = str(data.get("CLIENT_APP_ID") or "")
    if str(data.get("SECONDARY_ROLES") or "").upper() == "ALL":
        session.secondary_roles = True
    given = data.get("SESSION_PARAMETERS")
    for key, value in given.items() if isinstance(given, dict) else ():
        session.parameters[str(key).upper()] = value
    return session


def _authenticate(account: Account, data: dict[str, Any]) -> tuple[str, str | None]:
    authenticator = str(data.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
    token = str(data.get("TOKEN") or "")
    if authenticator == "OAUTH":
        bearer = account.tokens.bearer(token)
        if bearer is None:
            if account.tokens.is_expired(token):
                raise LoginError(390318, "OAuth access token expired.")
            raise LoginError(390303, "Invalid OAuth access token.")
        return bearer.user, bearer.role
    if authenticator == "SNOWFLAKE_JWT":
        return _key_pair(account, token), None
    secret = token or str(data.get("PASSWORD") or "")
    bearer = account.tokens.bearer(secret) if secret.startswith("pat:") else None
    if bearer is not None and bearer.user == str(data.get("LOGIN_NAME") or bearer.user).upper():
        return bearer.user, bearer.role
    if authenticator == "PROGRAMMATIC_ACCESS_TOKEN":
        raise LoginError(394400, "Programmatic access token is invalid.")
    if authenticator not in ("SNOWFLAKE", "USERNAME_PASSWORD_MFA"):
        raise LoginError(390190, f"Authenticator {authenticator} is not offered by the local account.")
    user = _user(account, str(data.get("LOGIN_NAME") or ""))
    if user is None or not check_password(secret, user.props.get("password")):
        raise LoginError(390100, "Incorrect username or password was specified.")
    return user.name, None


def _user(account: Account, login: str) -> CatalogueObject | None:
    wanted = login.upper()
    for user in account.store.list("USER"):
        if wanted in (user.name.upper(), str(user.props.get("login_name") or user.name).upper()):
            return user
    return None


def _key_pair(account: Account, token: str) -> str:
    refused = LoginError(390144, "JWT token is invalid.")
    try:
        subject = str(jwt.decode(token, options={"verify_signature": False})["sub"])
    except (jwt.PyJWTError, KeyError):
        raise refused from None
    user = _user(account, subject.rpartition(".")[2])
    if user is None:
        raise refused
    for field in ("rsa_public_key", "rsa_public_key_2"):
        key = user.props.get(field)
        if not key:
            continue
        try:
            claims = jwt.decode(token, load_der_public_key(_der(key)), algorithms=["RS256"], leeway=60)  # type: ignore[arg-type]
        except jwt.PyJWTError:
            continue
        if str(claims.get("iss", "")).endswith(public_key_fingerprint(key)):
            return user.name
    raise refused


def _session(account: Account, user: str, fixed_role: str | None, query: dict[str, str]) -> Session:
    record = account.store.find("USER", "", "", user)
    props = record.props if record is not None else _service_defaults(account, user)
    wanted = _name(query.get("roleName"))
    role = wanted or fixed_role or props.get("default_role") or "PUBLIC"
    allowed = role in (fixed_role, "PUBLIC") if fixed_role is not None else account.access.may_use_role(user, role)
    if not allowed:
        if wanted:
            raise LoginError(390189, f"Role '{role}' specified in the connect string does not exist or not authorized.")
        role = "PUBLIC"
    session = Session(id=0, user=user, role=role, fixed_role=fixed_role)
    warehouse = _name(query.get("warehouse")) or props.get("default_warehouse")
    if warehouse and _usable(account, session, "WAREHOUSE", "", warehouse):
        session.warehouse = warehouse
    namespace = str(props.get("default_namespace") or "").split(".")
    database = _name(query.get("databaseName")) or (namespace[0] or None)
    if database and _usable(account, session, "DATABASE", "", database):
        session.database = database
        schema = _name(query.get("schemaName")) or (namespace[1] if len(namespace) > 1 else "PUBLIC")
        if account.store.find("SCHEMA", database, "", schema):
            session.schema = schema
    return session


def _service_defaults(account: Account, user: str) -> dict[str, Any]:
    """What a service's own user starts with: its QUERY_WAREHOUSE."""
    parts = user.split(".")
    service = account.store.find("SERVICE", *parts) if len(parts) == 3 else None
    return {"default_warehouse": service.props.get("query_warehouse")} if service is not None else {}


def _usable(account: Account, session: Session, kind: str, database: str, name: str) -> bool:
    found = account.store.find(kind, database, "", name)
    return found is not None and bool(account.access.privileges((session.role,), found))


def _name(text: str | None) -> str | None:
    if not text:
        return None
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return text[1:-1].replace('""', '"')
    return text.upper()
