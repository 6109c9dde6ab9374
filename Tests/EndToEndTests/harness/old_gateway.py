"""The old gateway's database, as its source declares it: on PostgreSQL and on SQLite, with what must come over and what must be named."""

from __future__ import annotations

import asyncio
import datetime
import glob
import hashlib
import json
import os
import pwd
import shutil
import socket
import sqlite3
import tempfile
import uuid
from pathlib import Path
from urllib.parse import quote

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=123456)
USAGE_ROWS = 3000

#: The tables with PostgreSQL's types, which vary as those of a grown database do, and SQLite's.
TABLES: dict[str, list[tuple[str, str, str]]] = {
    "budgets": [
        ("budget_id", "varchar PRIMARY KEY", "VARCHAR PRIMARY KEY"), ("max_budget", "double precision", "FLOAT"),
        ("budget_duration_sec", "integer", "INTEGER"), ("created_at", "timestamptz NOT NULL", "DATETIME"),
        ("updated_at", "timestamptz NOT NULL", "DATETIME"),
    ],
    "users": [
        ("user_id", "varchar PRIMARY KEY", "VARCHAR PRIMARY KEY"), ("alias", "varchar", "VARCHAR"), ("spend", "double precision", "FLOAT"),
        ("budget_id", "varchar REFERENCES budgets", "VARCHAR"), ("budget_started_at", "timestamptz", "DATETIME"),
        ("next_budget_reset_at", "timestamptz", "DATETIME"), ("blocked", "boolean NOT NULL", "BOOLEAN"),
        ("created_at", "timestamptz NOT NULL", "DATETIME"), ("updated_at", "timestamptz NOT NULL", "DATETIME"), ("metadata", "json", "JSON"),
    ],
    "api_keys": [
        ("id", "varchar PRIMARY KEY", "VARCHAR PRIMARY KEY"), ("key_hash", "varchar UNIQUE", "VARCHAR UNIQUE"), ("key_name", "varchar", "VARCHAR"),
        ("user_id", "varchar REFERENCES users", "VARCHAR"), ("created_at", "timestamptz NOT NULL", "DATETIME"),
        ("last_used_at", "timestamptz", "DATETIME"), ("expires_at", "timestamptz", "DATETIME"), ("is_active", "boolean NOT NULL", "BOOLEAN"),
        ("metadata", "json", "JSON"),
    ],
    "model_pricing": [
        ("model_key", "varchar PRIMARY KEY", "VARCHAR PRIMARY KEY"), ("input_price_per_million", "double precision", "FLOAT"),
        ("output_price_per_million", "double precision", "FLOAT"), ("cached_price_per_million", "double precision", "FLOAT"),
        ("created_at", "timestamptz", "DATETIME"), ("updated_at", "timestamptz", "DATETIME"),
    ],
    "usage_logs": [
        ("id", "varchar PRIMARY KEY", "VARCHAR PRIMARY KEY"), ("api_key_id", "varchar", "VARCHAR"), ("user_id", "varchar", "VARCHAR"),
        ("timestamp", "timestamptz NOT NULL", "DATETIME"), ("model", "varchar", "VARCHAR"), ("provider", "varchar", "VARCHAR"),
        ("endpoint", "varchar", "VARCHAR"), ("prompt_tokens", "integer", "INTEGER"), ("completion_tokens", "integer", "INTEGER"),
        ("total_tokens", "integer", "INTEGER"), ("cached_tokens", "integer", "INTEGER"), ("cost", "double precision", "FLOAT"),
        ("status", "varchar", "VARCHAR"), ("error_message", "varchar", "VARCHAR"),
    ],
    "caret_users": [
        ("id", "uuid PRIMARY KEY", "CHAR(36) PRIMARY KEY"), ("user_id", "varchar REFERENCES users", "VARCHAR"), ("provider", "varchar", "VARCHAR"),
        ("provider_account_id", "varchar", "VARCHAR"), ("role", "varchar", "VARCHAR"), ("email", "varchar", "VARCHAR"), ("name", "varchar", "VARCHAR"),
        ("avatar_url", "varchar", "VARCHAR"), ("last_login_at", "timestamp", "DATETIME"), ("metadata", "jsonb", "JSON"),
        ("created_at", "timestamp", "DATETIME"), ("updated_at", "timestamp", "DATETIME"),
    ],
    "billing_plans": [
        ("id", "uuid PRIMARY KEY", "CHAR(36) PRIMARY KEY"), ("name", "varchar", "VARCHAR"), ("monthly_credits", "double precision", "FLOAT"),
        ("monthly_bonus_credits", "double precision", "FLOAT"), ("price_usd", "double precision", "FLOAT"),
        ("credits_per_usd", "double precision", "FLOAT"), ("renew_interval_days", "integer", "INTEGER"), ("active", "boolean", "BOOLEAN"),
    ],
    "billing_subscriptions": [
        ("id", "uuid PRIMARY KEY", "CHAR(36) PRIMARY KEY"), ("user_id", "varchar REFERENCES users", "VARCHAR"),
        ("plan_id", "uuid REFERENCES billing_plans", "CHAR(36)"), ("status", "varchar", "VARCHAR"), ("start_at", "timestamptz", "DATETIME"),
        ("renew_at", "timestamptz", "DATETIME"), ("ends_at", "timestamptz", "DATETIME"),
    ],
    "credit_balances": [
        ("id", "uuid PRIMARY KEY", "CHAR(36) PRIMARY KEY"), ("user_id", "varchar", "VARCHAR"), ("pool_type", "varchar", "VARCHAR"),
        ("source_id", "uuid", "CHAR(36)"), ("amount", "double precision", "FLOAT"), ("expires_at", "timestamptz", "DATETIME"),
        ("priority", "integer", "INTEGER"), ("created_at", "timestamptz", "DATETIME"), ("updated_at", "timestamptz", "DATETIME"), ("metadata", "json", "JSON"),
    ],
}
#: What the gateway had before the fork that knows credits.
BEFORE_CREDITS = ["budgets", "users", "api_keys", "model_pricing", "usage_logs"]


def identity(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def token(user: str) -> str:
    return "gw-" + hashlib.sha512(user.encode()).hexdigest()[:64]


def days(number: float) -> datetime.datetime:
    return NOW + datetime.timedelta(days=number)


def users() -> list[dict]:
    blocked = {"carol"}
    return [
        {"user_id": user, "alias": user.title(), "spend": 0.1, "budget_id": "team" if user == "alice" else None, "budget_started_at": None,
         "next_budget_reset_at": None, "blocked": user in blocked, "created_at": days(-200 + n), "updated_at": days(-100),
         "metadata": {"team": user, "share": 0.5} if user == "alice" else {}}
        for n, user in enumerate(["alice", "bob", "carol", "dora", "frank", "jos\u00e9", "jose\u0301"])
    ]


def keys() -> list[dict]:
    return [
        # One has an id that a path can only hold escaped.
        {"id": f"key-{user}" if user.isascii() else f"a/key of {user}", "key_hash": hashlib.sha256(token(user).encode()).hexdigest(), "key_name": f"desktop-{user}", "user_id": user,
         "created_at": days(-150), "last_used_at": days(-2), "expires_at": None, "is_active": user != "dora", "metadata": {}}
        for user in ("alice", "bob", "carol", "dora", "jos\u00e9")
    ]


def balances() -> list[dict]:
    rows = [
        ("alice", "ADDON", 9.999999999999998, None), ("alice", "BONUS", 1e-07, None), ("alice", "SUBSCRIPTION", 0.1 + 0.2, 20),
        ("alice", "ADDON", 7.25, -30), ("bob", "BONUS", 20.0, None), ("bob", "ADDON", -0.25, None), ("carol", "ADDON", 5.000000000499999, None),
        ("frank", "ADDON", 1e-10, None), ("jos\u00e9", "BONUS", 1.5, None), ("jose\u0301", "BONUS", 2.5, None),
    ]
    return [
        {"id": identity(f"balance-{n}"), "user_id": user, "pool_type": pool, "source_id": None, "amount": amount,
         "expires_at": None if expires is None else days(expires), "priority": 1, "created_at": days(-90), "updated_at": days(-1), "metadata": {}}
        for n, (user, pool, amount, expires) in enumerate(rows)
    ]


def usage(count: int = USAGE_ROWS) -> list[dict]:
    rows = []
    for n in range(count):
        user = ("alice", "bob", "carol")[n % 3]
        failed = n % 50 == 49
        rows.append({
            "id": identity(f"usage-{n}"), "api_key_id": f"key-{user}", "user_id": user, "timestamp": days(-90 + n * 85 / count),
            "model": "gpt-5", "provider": "openai" if n % 7 else None, "endpoint": "/v1/chat/completions", "prompt_tokens": None if failed else n,
            "completion_tokens": None if failed else 2 * n, "total_tokens": None if failed else 3 * n, "cached_tokens": n // 2,
            "cost": None if failed else n * 0.1 / 1000 + 1e-07, "status": "error" if failed else "success",
            "error_message": f"{user}@example.org is not allowed" if failed else None,
        })
    return rows


def rows() -> dict[str, list[dict]]:
    """All of it, table by table, in an order that references allow."""
    plans = [("FREE", 10.0, 0.0), ("BASIC", 120.0, 10.0), ("PRO", 300.0, 29.99)]
    return {
        "budgets": [{"budget_id": "team", "max_budget": 12.3456784, "budget_duration_sec": 86400, "created_at": days(-200), "updated_at": days(-200)}],
        "users": users(), "api_keys": keys(),
        "model_pricing": [
            {"model_key": model, "input_price_per_million": prices[0], "output_price_per_million": prices[1], "cached_price_per_million": prices[2],
             "created_at": days(-200), "updated_at": days(-200)}
            for model, prices in {"up:finish": (1.0, 2.0, 0.25), "openai/gpt-5": (0.15000000000000002, 0.1 + 0.2, None)}.items()
        ],
        "usage_logs": usage(),
        "caret_users": [
            {"id": identity(f"caret-{user}"), "user_id": user, "provider": "google", "provider_account_id": f"sub-{user}", "role": "user",
             "email": f"{user}@example.org", "name": user.title(), "avatar_url": None, "last_login_at": days(-3).replace(tzinfo=None), "metadata": {},
             "created_at": days(-150).replace(tzinfo=None), "updated_at": days(-3).replace(tzinfo=None)}
            for user in ("alice", "bob")
        ],
        "billing_plans": [
            {"id": identity(name), "name": name, "monthly_credits": credits, "monthly_bonus_credits": 0.0, "price_usd": price, "credits_per_usd": 10.0,
             "renew_interval_days": 30, "active": True} for name, credits, price in plans
        ],
        "billing_subscriptions": [
            {"id": identity(f"sub-{user}"), "user_id": user, "plan_id": identity(plan), "status": status, "start_at": days(-20), "renew_at": days(10),
             "ends_at": None}
            for user, plan, status in (("alice", "BASIC", "ACTIVE"), ("bob", "PRO", "ACTIVE"), ("carol", "BASIC", "CANCELLED"))
        ],
        "credit_balances": balances(),
    }


class OldSQLite:
    """The old database in one file, as SQLAlchemy writes it."""

    name = "sqlite"
    secret = None

    def __init__(self, folder: Path, tables: list[str] | None = None):
        self.path = folder / "old.db"
        self.url = f"sqlite:///{self.path}"
        self.tables = tables or list(TABLES)

    async def start(self) -> "OldSQLite":
        connection = sqlite3.connect(self.path)
        for table in self.tables:
            columns = ", ".join(f'"{name}" {kind}' for name, _, kind in TABLES[table])
            connection.execute(f'CREATE TABLE "{table}" ({columns})')
        connection.commit()
        connection.close()
        for table, values in rows().items():
            if table in self.tables:
                await self.insert(table, values)
        return self

    @staticmethod
    def _value(value: object) -> object:
        if isinstance(value, datetime.datetime):
            # SQLAlchemy's SQLite has no zones: what is stored is UTC.
            return value.replace(tzinfo=None).isoformat(" ")
        return json.dumps(value) if isinstance(value, dict) else value

    async def insert(self, table: str, values: list[dict]) -> None:
        connection = sqlite3.connect(self.path)
        names = [name for name, _, _ in TABLES[table]]
        marks = ", ".join("?" for _ in names)
        connection.executemany(f'INSERT INTO "{table}" VALUES ({marks})', [[self._value(row[name]) for name in names] for row in values])
        connection.commit()
        connection.close()

    async def run(self, sql: str) -> None:
        connection = sqlite3.connect(self.path)
        connection.executescript(sql)
        connection.close()

    async def close(self) -> None:
        pass


class OldPostgres:
    """The old database in a PostgreSQL cluster of its own, on a loopback port, with a password that a URL must escape."""

    name = "postgres"
    secret = "pa@ss/w:rd%20?#"

    def __init__(self, folder: Path):
        # Not in the case's own folder: the server runs as another user, who must reach it.
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[-2]))
        assert found, "PostgreSQL is not installed: scripts/setup.sh does it"
        self.bin = Path(found[-1])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"postgresql+asyncpg://gateway:{quote(self.secret, safe='')}@127.0.0.1:{self.port}/gateway"

    async def start(self) -> "OldPostgres":
        password = self.folder / "password"
        password.write_text(self.secret + "\n")
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            owner = pwd.getpwnam("postgres")
            for path in (self.folder, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        data = self.folder / "data"
        await self._command(self.bin / "initdb", "-D", data, "-U", "gateway", "--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8",
                            "--locale=C.UTF-8", "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        await self._command(self.bin / "pg_ctl", "-D", data, "-l", self.folder / "log", "-o", options, "-w", "start")
        await self.run("CREATE DATABASE gateway", "postgres")
        for table, columns in TABLES.items():
            await self.run(f'CREATE TABLE "{table}" (' + ", ".join(f'"{name}" {kind}' for name, kind, _ in columns) + ")")
        for table, values in rows().items():
            await self.insert(table, values)
        return self

    async def _command(self, *arguments: object, as_server: bool = True, stdin: bytes = b"") -> None:
        words = [str(argument) for argument in arguments]
        if as_server and os.geteuid() == 0:
            words = ["runuser", "-u", "postgres", "--", *words]
        # A file, not a pipe: the server inherits it and never closes it.
        with tempfile.TemporaryFile() as output:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output, cwd="/", env={**os.environ, "PGPASSWORD": self.secret, "LC_ALL": "C.UTF-8"})
            await process.communicate(stdin)
            output.seek(0)
            assert process.returncode == 0, f"{words[:6]} failed: {output.read().decode('utf-8', 'replace')[-2000:]}"

    @staticmethod
    def _literal(value: object) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, (int, float)):
            return f"'{value!r}'"
        if isinstance(value, datetime.datetime):
            value = value.isoformat()
        if isinstance(value, dict):
            value = json.dumps(value)
        return "'" + value.replace("'", "''") + "'"

    async def insert(self, table: str, values: list[dict]) -> None:
        names = [name for name, _, _ in TABLES[table]]
        lines = ",\n".join("(" + ", ".join(self._literal(row[name]) for name in names) + ")" for row in values)
        if values:
            await self.run(f'INSERT INTO "{table}" VALUES {lines};')

    async def run(self, sql: str, database: str = "gateway") -> None:
        await self._command(self.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", self.port, "-U", "gateway", "-d", database,
                            as_server=False, stdin=sql.encode())

    async def close(self) -> None:
        try:
            if (self.folder / "data" / "postmaster.pid").exists():
                await self._command(self.bin / "pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
