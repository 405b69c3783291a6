"""The guide's ``Model`` and ``QueueFailedJob``, over the failed jobs of queued's database driver.

Copied beside the examples as ``app/failed_jobs.py``.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Float, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """queued keeps seconds since 1970; the guide compares with naive UTC."""

    impl = Float
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> Any:
        return value and value.replace(tzinfo=UTC).timestamp()


class Base(DeclarativeBase):
    pass


class QueueFailedJob(Base):
    __tablename__ = "queued_failed"
    id: Mapped[int] = mapped_column("seq", primary_key=True)
    failed_at: Mapped[datetime] = mapped_column(Moment)


class Model:
    """Sessions whose calls run in a thread: the test needs no other database library."""

    @classmethod
    async def get_session(cls) -> Model:
        return cls()

    def __init__(self) -> None:
        self._session = Session(create_engine(os.environ["QUEUE_CONNECTION"]))

    async def execute(self, statement: Any) -> Any:
        return await asyncio.to_thread(self._session.execute, statement)

    async def close(self) -> None:
        self._session.close()
