"""The monitor process: what needs the back-end and is not running jobs, and the daemon's HTTP.

Read ``process``, ``monitor`` (its duties), ``janitor`` (leases, promotion, reclaim), ``reclaim`` (a
verdict becomes a settlement), ``collector`` (/metrics, of ``families``), ``recent`` (what queues
did in the last minutes).
"""
