"""Faults on demand: an account started with `--faults` delays, drops, refuses, hangs and dies as a control endpoint tells it.

`rules` says what happens to whom (pure, the same for the same seed), `gate` makes it happen to statements, `requests` to all other HTTP
requests, `journal` remembers every statement in order of arrival, `past` answers a SHOW as of some seconds ago, `control` is the endpoint.
Without `--faults` nothing here is loaded.
"""
