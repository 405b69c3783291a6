"""The programming model: Job classes, their payloads, the producer, and what a run's end means.

Nothing is imported here, so that ``from queued import Job`` costs next to nothing.
"""
