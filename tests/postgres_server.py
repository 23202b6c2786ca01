"""A PostgreSQL server of our own for tests: up in a second, killed like any other process, gone afterwards.

The programs are those of pgserver (a development dependency), else of the PostgreSQL that the machine has.
There is no way to leave these tests out quietly: without programs the server cannot start, and says so.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from usufruct_oracle.storage.database import PostgresUrl

from scripts.network import die_with_parent

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02
NOT_ROOT = "nobody"  # PostgreSQL refuses to run as root


class PostgresServer:
    """A server on a Unix socket in a temporary folder, with a password. `with` starts and removes it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir=_quick_folder()))
        self._data = self._folder / "data"
        self._is_root = os.geteuid() == 0
        self._bin = self._programs()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.password_file = self._folder / "password"
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_hex(16) + "\n", encoding="ascii")

    def __enter__(self) -> Self:
        first_password = self._folder / "first-password"
        first_password.write_bytes(self.password_file.read_bytes())
        if self._is_root:
            shutil.chown(self._folder, NOT_ROOT)
        options = ("-U", "node", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync")
        self._run("initdb", "-D", self._data, f"--pwfile={first_password}", *options)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, *options: str) -> None:
        """Start the server and wait until it answers.

        After a crash it refuses to while processes of the crashed one are still ending, so it is tried again.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self._process is None or self._process.poll() is not None:
                self._process = self._launch(*options)
            try:
                self.connect("postgres").close()
                return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    text = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start: {error}\n{text[-2000:]}") from error
                time.sleep(POLL_S)

    def _launch(self, *options: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-k", self._folder, "-h", "", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(os.getpid()),
                **self._user(),
            )

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server; SIGINT drops every session, SIGKILL is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def new_database(self) -> PostgresUrl:
        """Return an empty database."""
        self._databases += 1
        name = f"node{self._databases}"
        with self.connect("postgres") as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return PostgresUrl(self._url(name), self.password_file)

    def empty(self, database: PostgresUrl) -> None:
        """Delete every row of a node's database; much quicker than a new one."""
        with self.connect(database) as db, db.transaction():
            db.execute("SET LOCAL session_replication_role = replica")  # in any order
            tables = db.execute(
                "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
                "AND relnamespace = 'public'::regnamespace AND relname <> 'schema_version'"
            ).fetchall()
            for (table,) in tables:
                db.execute(f"DELETE FROM {table}".encode())

    def connect(self, database: str | PostgresUrl) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection of a bystander."""
        url = database.url if isinstance(database, PostgresUrl) else self._url(database)
        password = self.password_file.read_text(encoding="ascii").strip()
        return psycopg.connect(url, password=password, autocommit=True, connect_timeout=5)

    def drop_sessions(self, database: PostgresUrl) -> int:
        """End every session of a database, as a restart or a network would; return how many there were."""
        with self.connect(database) as db:
            ended = db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchall()
        return len(ended)

    def _url(self, database: str) -> str:
        return f"postgresql://node@/{database}?host={self._folder}"

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._bin / program, *arguments],
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=START_TIMEOUT_S,
            **self._user(),
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def _user(self) -> dict[str, str]:
        return {"user": NOT_ROOT} if self._is_root else {}

    def _programs(self) -> Path:
        """Return the folder of `initdb` and `postgres`: a copy that others can read if this runs as root."""
        package = importlib.util.find_spec("pgserver")
        if package is None or package.origin is None:
            return _system_programs()
        site = Path(package.origin).parent.parent
        if not self._is_root:
            return site / "pgserver" / "pginstall" / "bin"
        # Programs find their libraries by relative paths, so the copy is laid out as the original.
        for part in (
            "pgserver/pginstall/bin",
            "pgserver/pginstall/lib",
            "pgserver/pginstall/share",
            "pgserver.libs",
        ):
            if (site / part).exists():
                shutil.copytree(site / part, self._folder / part, symlinks=True)
        return self._folder / "pgserver" / "pginstall" / "bin"


def _quick_folder() -> str | None:
    """Return a folder in memory, if there is one with room: processes are killed here, machines are not."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3 else None


def _system_programs() -> Path:
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    found = shutil.which("initdb") or (newest[0] if newest else None)
    if found is None:
        raise RuntimeError(
            "no PostgreSQL for tests: `make setup` brings pgserver; elsewhere install PostgreSQL"
        )
    return Path(found).resolve().parent
