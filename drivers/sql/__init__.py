"""The database driver: SQLAlchemy Core for tables and statements, SQLite and PostgreSQL."""

from queued.drivers.sql.driver import SqlDriver

__all__ = ["SqlDriver"]
