"""``queued migrate``: the jobs of RouteMQ come over.

Read ``command``, then ``move`` (copied first, then removed) and ``entry`` (one job of theirs, and
what becomes of it). ``redis`` and ``sql`` read what the two drivers of RouteMQ stored.
"""
