"""``queued why``: what a job or a queue waits for, in words.

Read ``command``, then ``evidence`` (all that is known), ``reasons`` (of a job) and ``holds`` (why
something waits, a function each).
"""
