"""The exit codes of every command: part of the contract, shown by ``queued --help``."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Numbers from 64 on are those of sysexits.h."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    NOT_RUNNING = 3
    UNAVAILABLE = 69
    INTERNAL = 70
    ALREADY_RUNNING = 75
    CONFIG = 78
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS = {
    Exit.OK: "done",
    Exit.PROBLEM: "a problem was found, or the command was refused",
    Exit.USAGE: "the command line is wrong",
    Exit.NOT_RUNNING: "the daemon does not run",
    Exit.UNAVAILABLE: "the back-end cannot be reached",
    Exit.INTERNAL: "an error of queued's own",
    Exit.ALREADY_RUNNING: "another daemon runs with this configuration",
    Exit.CONFIG: "the configuration or an import is wrong",
}
