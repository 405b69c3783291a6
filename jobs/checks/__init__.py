"""``queued check``'s rules on Job classes: each looks for one practice that is not followed.

Classes are read, in memory and as source, and nothing of theirs is called. docs/check.md describes
each rule; ``rules.RULES`` lists them.
"""
