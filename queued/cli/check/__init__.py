"""``queued check``: the configuration and the jobs, before they are put into service.

Read ``command``, then ``checklist`` (what is found, in order); ``schedules`` and ``systemd`` are
two of its parts. ``text`` and ``annotations`` show what was found.
"""
