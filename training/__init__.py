"""The fine-tune itself.

To read it in the order of one run: `config` (what was asked for), `job` (the phases), `data` (rows become micro-batches),
`model` (what is trained, and how it is made fast), `engine` (DeepSpeed), `tuning` and `loop` (the training), `checkpoint` (what
the next attempt goes on from), `scoring` and `results` (what came of it). `planner` foretells all that by arithmetic.
"""
