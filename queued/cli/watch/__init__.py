"""What the daemon does: ``queued status`` and ``queued top``.

Read ``reading`` (its answer, as people see it) and ``columns``, then ``status`` with its
``screen``, and ``top`` with its ``board`` on a ``terminal``.
"""
