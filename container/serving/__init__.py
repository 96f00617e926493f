"""The HTTP server around one model: batching, Snowflake's batch format, an OpenAI-compatible endpoint, health."""
