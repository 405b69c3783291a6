"""The monitor process: what needs the back-end and is not running jobs, and the daemon's HTTP.

Read ``monitor`` (the process), ``janitor`` (leases, promotion, reclaim), ``reclaim`` (a verdict
becomes a settlement), ``collector`` (/metrics), ``recent`` (what queues did in the last minutes).
"""
