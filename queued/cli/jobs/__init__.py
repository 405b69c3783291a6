"""Jobs that wait or run: ``queued job``, ``cancel`` and ``purge`` (``command``), and ``batch``.

``describe`` shows a job to people and programs, also for ``queued failed`` and ``queued why``.
"""
