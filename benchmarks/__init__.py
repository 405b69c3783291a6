"""queued beside its peers on one machine, in one run: ``python -m benchmarks --help``.

__main__    the command
systems     who takes part; venvs: an environment of its own for each
peers/      one adapter for each: what runs in its environment, with its own choices beside it
scenarios/  what is measured; stage: one system with a back-end, a producer and workers
results     rounds, medians, ratios; aims: the ratios that issue them; report: files and plots
"""
