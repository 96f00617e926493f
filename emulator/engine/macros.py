"""SQL macros that give DuckDB Snowflake's semantics where plain function names do not."""

from __future__ import annotations

MACROS = (
    # The text of anything: a JSON string loses its quotes, JSON null is NULL.
    """CREATE OR REPLACE MACRO sf_text(x) AS CASE WHEN typeof(x) = 'JSON' THEN
         CASE json_type(TRY_CAST(x AS JSON)) WHEN 'NULL' THEN NULL WHEN 'VARCHAR' THEN TRY_CAST(x AS JSON) ->> '$'
         ELSE CAST(x AS VARCHAR) END
       WHEN typeof(x) = 'BLOB' THEN hex(TRY_CAST(x AS BLOB))
       ELSE CAST(x AS VARCHAR) END""",
    "CREATE OR REPLACE MACRO sf_parse_json(x) AS CASE WHEN trim(sf_text(x)) = '' THEN NULL ELSE CAST(x AS JSON) END",
    """CREATE OR REPLACE MACRO sf_get(v, k) AS CASE WHEN typeof(k) IN ('VARCHAR', 'JSON')
         THEN json_extract(CAST(v AS JSON), '$."' || sf_text(k) || '"')
         ELSE json_extract(CAST(v AS JSON), '$[' || coalesce(TRY_CAST(sf_text(k) AS BIGINT), 0) || ']') END""",
    """CREATE OR REPLACE MACRO sf_div(a, b) AS CASE WHEN CAST(b AS DOUBLE) = 0 THEN CAST(error('Division by zero') AS DOUBLE)
         ELSE CAST(a AS DOUBLE) / CAST(b AS DOUBLE) END""",
    """CREATE OR REPLACE MACRO sf_typeof(v) AS CASE json_type(to_json(v)) WHEN 'NULL' THEN 'NULL_VALUE' WHEN 'VARCHAR' THEN 'VARCHAR'
         WHEN 'BIGINT' THEN 'INTEGER' WHEN 'UBIGINT' THEN 'INTEGER' WHEN 'DOUBLE' THEN 'DECIMAL' ELSE json_type(to_json(v)) END""",
    """CREATE OR REPLACE MACRO sf_flatten(j, t) AS CASE json_type(j)
         WHEN 'ARRAY' THEN list_transform(range(CAST(json_array_length(j) AS BIGINT)),
           lambda i: struct_pack(k := CAST(NULL AS VARCHAR), p := '[' || i || ']', i := i,
             v := json_extract(j, '$[' || i || ']'), t := t, n := i))
         WHEN 'OBJECT' THEN list_transform(json_keys(j),
           lambda key, place: struct_pack(k := key, p := key, i := CAST(NULL AS BIGINT),
             v := json_extract(j, '$."' || key || '"'), t := t, n := place))
         ELSE [] END""",
    """CREATE OR REPLACE MACRO sf_flatten_outer(j, t) AS CASE WHEN len(coalesce(sf_flatten(j, t), [])) > 0 THEN sf_flatten(j, t)
         ELSE [struct_pack(k := CAST(NULL AS VARCHAR), p := CAST(NULL AS VARCHAR), i := CAST(NULL AS BIGINT), v := CAST(NULL AS JSON),
           t := t, n := 0)] END""",
    "CREATE OR REPLACE MACRO sf_row(r) AS to_json(r)",
    "CREATE OR REPLACE MACRO sf_object(o) AS json_merge_patch(CAST('{}' AS JSON), o)",
)
