"""A ledger's file, seen from outside: the hash chain computed independently, and ways to tamper with it."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import struct
from pathlib import Path

COLUMNS = ["position", "account", "version", "type", "recorded_at", "effective_at", "key", "data", "hash"]
GENESIS = hashlib.sha256(b"credit-ledger genesis v1").digest()


def copy(database: Path, name: str) -> Path:
    """A copy of a ledger that nobody has open, with the files beside it."""
    target = database.with_name(f"{name}.sqlite")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
        if Path(f"{database}{suffix}").exists():
            shutil.copyfile(f"{database}{suffix}", f"{target}{suffix}")
    return target


def fold_journal(database: Path) -> None:
    """Brings all that lies in the write-ahead log into the file itself."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def rows(database: Path) -> list[dict]:
    """All events, as stored."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        found = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position").fetchall()
    finally:
        connection.close()
    return [dict(zip(COLUMNS, row)) for row in found]


def link(previous: bytes, row: dict) -> bytes:
    """The hash of an event after the one before it, from the specification of the chain."""
    canonical = previous + struct.pack(">qqqq", row["position"], row["version"], row["recorded_at"], row["effective_at"])
    for name in ("account", "type", "key", "data"):
        data = row[name].encode()
        canonical += struct.pack(">I", len(data)) + data
    return hashlib.sha256(canonical).digest()


def chain(events: list[dict]) -> list[bytes]:
    hashes, previous = [], GENESIS
    for row in events:
        previous = link(previous, row)
        hashes.append(previous)
    return hashes


class Forger:
    """Changes a ledger through SQLite, without what protects it, and puts that back as it was."""

    def __init__(self, database: Path):
        self.connection = sqlite3.connect(database, isolation_level=None)
        self.triggers = self.connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in self.triggers:
            self.connection.execute(f'DROP TRIGGER "{name}"')
        self.connection.execute("PRAGMA ignore_check_constraints = ON")

    def __enter__(self) -> "Forger":
        return self

    def __exit__(self, *_: object) -> None:
        for _, sql in self.triggers:
            self.connection.execute(sql)
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()

    def run(self, sql: str, *values: object) -> None:
        self.connection.execute(sql, values)

    def set(self, position: int, column: str, value: object) -> None:
        self.run(f"UPDATE events SET {column} = ? WHERE position = ?", value, position)

    def link_again(self) -> None:
        """Computes the whole chain anew, as a forger would who knows how."""
        found = self.connection.execute(f"SELECT {', '.join(COLUMNS)} FROM events ORDER BY position").fetchall()
        events = [dict(zip(COLUMNS, row)) for row in found]
        for row, value in zip(events, chain(events)):
            self.set(row["position"], "hash", value)


def flipped(value: object, bit: int = 0) -> object:
    """A value with one bit of one byte changed (text stays text)."""
    if isinstance(value, int):
        return value ^ (1 << bit)
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    # In the middle, and another printable character.
    at = len(value) // 2
    return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1:]


def record_range(file: bytes, row: dict) -> tuple[int, int] | None:
    """Where an event's values lie in the file, from its account's first byte to its hash's last; None where they lie apart."""
    data = row["data"].encode()
    start = file.find(row["account"].encode() + _integer(row["version"]) + row["type"].encode())
    while start >= 0:
        end = file.find(row["hash"], start)
        if 0 <= file.find(data, start) < end < start + len(data) + 600:
            return start, end + len(row["hash"])
        start = file.find(row["account"].encode() + _integer(row["version"]) + row["type"].encode(), start + 1)
    return None


def _integer(value: int) -> bytes:
    """An integer as SQLite stores it in a record (0 and 1 take no byte)."""
    if value in (0, 1):
        return b""
    return value.to_bytes(1 if value < 128 else 2, "big")
