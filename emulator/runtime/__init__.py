"""Compute pools, services and jobs of the embedded account, as real processes on this machine.

`spec` reads what a service should be, `pools` and `services` hold the state machines, `container` starts and watches one process,
`runtime` ticks all of it. Nothing here speaks SQL: the commands do.
"""
