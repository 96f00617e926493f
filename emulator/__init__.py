"""The embedded local account: a Snowflake-compatible server for one machine, reached only over the wire."""
