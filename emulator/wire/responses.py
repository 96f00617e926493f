"""The bodies of answers: success, failure, in progress, monitoring."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from emulator import errors
from emulator.results import ResultSet
from emulator.session import Session
from emulator.wire.encode import arrow_base64, json_rows, row_type
from emulator.wire.statements import Statement

MULTI_STATEMENT = 0xA000


def success(result: ResultSet, statement: Statement, session: Session) -> dict[str, Any]:
    """The answer of a statement that went well."""
    data = _envelope(statement, session, result.statement_type)
    data["rowtype"] = [row_type(column) for column in result.columns]
    if result.arrow is not None:
        data["queryResultFormat"] = "arrow"
        data["rowsetBase64"] = arrow_base64(result.arrow, result.columns) if result.columns else ""
        data["total"] = data["returned"] = result.arrow.num_rows
    else:
        rows = json_rows(result)
        data["queryResultFormat"] = "json"
        data["rowset"] = rows
        data["total"] = data["returned"] = len(rows)
    return {"data": data, "code": None, "message": result.warning, "success": True}


def _envelope(statement: Statement, session: Session, statement_type: int) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": "TIMEZONE", "value": session.parameters.get("TIMEZONE", "UTC")},
            {"name": "AUTOCOMMIT", "value": session.parameters.get("AUTOCOMMIT", True)},
        ],
        "queryId": statement.query_id,
        "statementTypeId": statement_type,
        "finalDatabaseName": session.database,
        "finalSchemaName": session.schema,
        "finalWarehouseName": session.warehouse,
        "finalRoleName": session.role,
        "numberOfBinds": 0,
        "arrayBindSupported": False,
        "version": 1,
        "sendResultTime": int(statement.started * 1000),
    }


def multi(statement: Statement, children: list[Statement], types: list[int], session: Session) -> dict[str, Any]:
    """The answer of a request with several statements: the ids of their results."""
    data = _envelope(statement, session, MULTI_STATEMENT)
    data["resultIds"] = ",".join(child.query_id for child in children)
    data["resultTypes"] = ",".join(str(type_id) for type_id in types)
    data["rowtype"] = [
        {"name": "multiple statement execution", "type": "text", "nullable": False, "length": 38, "precision": None, "scale": None}
    ]
    data["rowset"] = [["Multiple statements executed successfully."]]
    data["queryResultFormat"] = "json"
    data["total"] = data["returned"] = 1
    return {"data": data, "code": None, "message": None, "success": True}


def stage_transfer(data: dict[str, Any], statement: Statement, session: Session) -> dict[str, Any]:
    """The answer of PUT or GET: what the driver needs to move the files itself."""
    return {"data": {**_envelope(statement, session, 0x7000), **data}, "code": None, "message": None, "success": True}


def failure(error: errors.SqlError, query_id: str) -> dict[str, Any]:
    """The answer of a statement that failed. HTTP 200 all the same."""
    return {
        "data": {
            "internalError": False,
            "unredactedFromSecureObject": False,
            "errorCode": f"{error.errno:06d}",
            "age": 0,
            "sqlState": error.sqlstate,
            "queryId": query_id,
            "line": -1,
            "pos": -1,
            "type": "COMPILATION" if error.message.startswith("SQL compilation") else "EXECUTION",
        },
        "code": f"{error.errno:06d}",
        "message": error.message,
        "success": False,
        "headers": None,
    }


def expired_session() -> dict[str, Any]:
    """Tells the driver to renew its session token with the master token."""
    return {"data": None, "code": "390112", "message": "Your session has expired. Please login again.", "success": False}


def in_progress(statement: Statement, *, detached: bool) -> dict[str, Any]:
    """`detached` is an asynchronous statement: the driver leaves and asks later."""
    return {
        "data": {
            "queryId": statement.query_id,
            "getResultUrl": f"/queries/{statement.query_id}/result",
            "queryAbortsAfterSecs": 300,
            "progressDesc": None,
        },
        "code": "333334" if detached else "333333",
        "message": "Query execution in progress. Poll for result later.",
        "success": True,
    }


def query_status(statement: Statement) -> dict[str, Any]:
    """A row of the monitoring answer."""
    error = statement.error
    return {
        "id": statement.query_id,
        "status": statement.status,
        "state": statement.status,
        "sqlText": statement.text,
        "startTime": int(statement.started * 1000),
        "endTime": int((statement.ended or 0) * 1000),
        "errorCode": f"{error.errno:06d}" if error else None,
        "errorMessage": error.message if error else None,
        "sessionId": statement.session.id,
        "warehouseName": statement.warehouse,
    }


def history_rows(statements: Iterable[Statement]) -> list[dict[str, Any]]:
    """The statement log as plain data."""
    return [
        {
            "query_id": s.query_id,
            "query_text": s.text,
            "user_name": s.session.user,
            "role_name": s.role,
            "session_id": s.session.id,
            "warehouse_name": s.warehouse if s.used_warehouse else None,
            "used_warehouse": s.used_warehouse,
            "execution_status": s.status,
            "error_code": s.error.errno if s.error else None,
            "error_message": s.error.message if s.error else None,
            "start_time": s.started,
            "end_time": s.ended,
        }
        for s in statements
    ]
