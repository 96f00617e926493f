"""From rows to steps: fetched, chosen, rendered as text, encoded, packed into micro-batches."""
