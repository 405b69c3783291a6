"""The daemon: a master, its template, workers and a monitor, a folder for each process.

Here stands what crosses between them: ``spec`` (what a child is told), ``channel`` (what they say),
``scoreboard`` (what a worker is doing, in memory that outlives it), ``recorder`` (its last log
lines and its stacks, there too), ``verdict`` (what becomes of a dead worker's jobs), ``metrics``
(what is counted); and what every process does alike: ``logs``, ``duty``, ``reach``.
"""
