"""The worker process: reserves the jobs of one queue, runs them, settles them.

Read ``worker`` (the loop), then ``exchange`` (settle + reserve), ``executor`` (one run, step by
step), ``judge`` (how a run that went wrong is settled), ``hooks`` (``failed()``).

    time      sweep (deadlines, limits, lag), lifecycle (when it ends), whereabouts (of
              what does not end), sleeper, listener (pushes)
    around    process (loop and signals), backend, threads, meters
    forked    forked (for a master), link (to it), slots (its view of what runs)
    alone     standalone (``queued work``), guard
"""
