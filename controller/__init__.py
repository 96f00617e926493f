"""The Snowcat daemon and its command line: desired state in YAML, observed state in SHOW, and the difference applied."""
