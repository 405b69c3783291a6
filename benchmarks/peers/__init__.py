"""What runs in the environments of the systems: their own library and the standard library only.

``agent`` is the program; each adapter has a ``Producer`` or two and ``worker``, its command.
"""
