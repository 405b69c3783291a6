"""How cost grows with the backlog, with workers and with queues: ``python -m benchmarks.scale``.

Unlike the scenarios it looks at queued alone: against a larger self, not against peers.
"""
