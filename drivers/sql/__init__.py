"""The database driver: SQLAlchemy Core for tables and statements; SQLite for now."""

from queued.drivers.sql.driver import SqlDriver

__all__ = ["SqlDriver"]
