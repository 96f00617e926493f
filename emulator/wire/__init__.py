"""Snowflake's wire protocol: routes, sessions, tokens, result encoding."""
