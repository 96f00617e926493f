"""Tables and queries: Snowflake SQL rewritten for DuckDB."""
