"""``queued failed``: what failed for good, and what to do with it.

Read ``command`` (list, show), then ``select`` (which jobs a verb is about) and ``settle`` (retry,
forget, flush).

    verbs     canary (retry, carefully), prune, files (export, import)
    shapes    groups (those of one kind), line (a job as a line of JSON)
"""
