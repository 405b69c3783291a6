"""Whom the janitor is to bury."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from queued.daemon.channel import Frame
from queued.daemon.monitor.reclaim import Dossier
from queued.daemon.spec import OwnerName
from queued.daemon.verdict import Sentence


@dataclass(frozen=True, slots=True)
class Grave:
    """An owner that is gone and may still hold jobs."""

    queue: str
    sentences: Mapping[str, Sentence]
    dossier: Dossier

    @classmethod
    def from_frame(cls, frame: Frame) -> Self:
        worker = OwnerName.parse(frame["owner"]).worker
        sentences = frame["sentences"].items()
        return cls(
            queue=frame["queue"],
            sentences={job_id: Sentence.from_frame(one) for job_id, one in sentences},
            dossier=Dossier.from_frame(frame["dossier"], worker=worker, at=time.time()),
        )
