"""No secret of the code under test is in anything that is shown or written down."""

import asyncio
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import pytest_loopsafe
from pytest_loopsafe import _rules
from pytest_loopsafe._rules.ls101 import CrossLoopAwait
from pytest_loopsafe._spool.writer import SpoolWriter
from pytest_loopsafe._words.secrets import masked, masked_data

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"  # of nobody
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"

TEXTS = [
    # in addresses
    ("redis://user:hunter2@host:6379/0", "redis://user:***@host:6379/0"),
    ("redis://:hunter2@host", "redis://:***@host"),
    ("postgresql+asyncpg://u:p@ss:w@host/db", "postgresql+asyncpg://u:***@host/db"),
    ("amqp://u:hun/ter2@host//", "amqp://u:***@host//"),
    ("'redis://:a@h1,redis://:b@h2'", "'redis://:***@h1,redis://:***@h2'"),
    ("GET https://h/?token=abc&page=2", "GET https://h/?token=***&page=2"),
    ("https://h/x?a=1&api_key=abc#top", "https://h/x?a=1&api_key=***"),
    # in logs
    ("password=hunter2 user=bob", "password=*** user=bob"),
    ("password=hunter2, user=bob", "password=***, user=bob"),
    ("password=a,b;c&d", "password=***&d"),
    ("connected (pwd=hunter2)", "connected (pwd=***)"),
    ("DB_PASSWORD=hunter2", "DB_PASSWORD=***"),
    ("redisPassword: hunter2", "redisPassword: ***"),
    ("password: correcthorse", "password: ***"),
    ("client_secret => s3cr3t", "client_secret => ***"),
    ("aws_secret_access_key=wJalr/XUtn+FEMI", "aws_secret_access_key=***"),
    ("access key: AbCd, region: eu", "access key: ***, region: eu"),
    ("session-id=8f14e45f", "session-id=***"),
    ("Server=h;Password=abc;Database=d", "Server=h;Password=***;Database=d"),
    ("token=abc.", "token=***."),
    ("no quote is closed: password='hunter2", "no quote is closed: password='***"),
    # in what Python and JSON show
    ("{'password': 'hunter2', 'user': 'bob'}", "{'password': '***', 'user': 'bob'}"),
    ('{"api_key":"abc","n":1}', '{"api_key":"***","n":1}'),
    (r'"{\"secret\": \"a b\", \"n\": 1}"', r'"{\"secret\": \"***\", \"n\": 1}"'),
    ("{'pin_token': 12345, 'n': None}", "{'pin_token': ***, 'n': None}"),
    ("Settings(token='it\\'s', n=1)", "Settings(token='***', n=1)"),
    ("Settings(token=Token('abc'), n=1)", "Settings(token=Token('***'), n=1)"),
    ("Client(auth=('bob', 'hunter2'))", "Client(auth=('***', '***'))"),
    ("environ({'DB_PWD': 'hunter2'})", "environ({'DB_PWD': '***'})"),
    ("os.environ['TOKEN'] = 'abc'", "os.environ['TOKEN'] = '***'"),
    # headers
    ("Authorization: Bearer abc", "Authorization: Bearer ***"),
    ("authorization=Basic Ym9iOmh1bnRlcjI=", "authorization=Basic ***"),
    ("sent Bearer Zm9vYmFyYmF6 again", "sent Bearer *** again"),
    ("{'Authorization': 'Bearer abc'}", "{'Authorization': '***'}"),
    ("[(b'authorization', b'Bearer abc')]", "[(b'authorization', b'***')]"),
    ("Cookie: sid=abc; theme=dark", "Cookie: ***"),
    ("cookies={'sid': 'abc', 'n': 'd'}", "cookies={'sid': '***', 'n': '***'}"),
    ("cookies={'a': 'x: \"y\" z'}", "cookies={'a': '***'}"),
    ("auth=Auth(user='bob', password='x')", "auth=Auth(user='bob', password='***')"),
    ("X-Api-Key: abc123", "X-Api-Key: ***"),
    # by their shape
    ("pushed with ghp_0123456789abcdefABCDEF", "pushed with ghp_***"),
    ("github_pat_11ABCDEFG0123456789_abc", "github_pat_***"),
    ("key sk-proj-0123456789abcdefgh", "key sk-***"),
    ("xoxb-1234567890-abcdef", "xoxb-***"),
    ("id AKIAIOSFODNN7EXAMPLE", "id AKIA***"),
    (f"jwt {JWT}", "jwt eyJ***"),
    (f"a {PEM} b", "a -----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY----- b"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE", "-----BEGIN PRIVATE KEY-----***"),
]

WORDS = [
    "AuthError: token expired",
    "InvalidToken: token: expired",
    "ValueError: password: must not be empty",
    "auth: failed, token is missing",
    "app.auth.token: 4 findings, one cause",
    "tests/test_auth.py::test_token: LS101: a task awaited a Future",
    "tests/test_auth.py::test_it[token]: LS101: a task awaited a Future",
    "app/token.py:41 in refresh_token",
    "swallowed: at app/auth.py:14 in get_token",
    "task 'refresh-token' of refresh_token() in loop 2",
    "<Task finished name='get_token' coro=<get_token() done>>",
    "max_tokens=100 token_type=bearer author=Bob tokenizer=bpe",
    "Basic authentication is needed, Bearer tokens are not",
    "http://127.0.0.1:8080/users/@me redis://host:6379/0",
    "ssh://git@host/x https://[::1]:80/@x",
    "password=None token=%s secret={secret} PWD=/root api_key=<hidden>",
    "redis://:%s@host redis://{user}:{password}@host redis://:${PW}@host",
    "token=get_token() count=3",
    "sk-learn-contrib-package hf_transformers task-0123456789abcdefgh",
]

SOURCES = [
    ("token = await self.fetch(x)", None),
    ("Client(token=token, password=None)", None),
    ("password = config.get('password', default)", None),
    ("def f(token: str, key: 'Token') -> str:", None),
    ("cookies = {'sid': sid}", None),
    ("if token: return 'x'", None),
    ("url = f'redis://:{password}@{host}'", None),
    ("log.info('token: %s', token)", None),
    ("headers = {'Authorization': f'Bearer {token}'}", None),
    ("client = Redis(password='hunter2')", "client = Redis(password='***')"),
    ("PASSWORD: str = 'hunter2'", "PASSWORD: str = '***'"),
    ('assert token == "abc", token', 'assert token == "***", token'),
    ("c = Redis.from_url('redis://:pw@h')", "c = Redis.from_url('redis://:***@h')"),
    ("get('https://h/?token=abc&n=1')", "get('https://h/?token=***&n=1')"),
    ("dsn = 'host=h password=abc dbname=d'", "dsn = 'host=h password=*** dbname=d'"),
    ("key = 'sk-proj-0123456789abcdefgh'", "key = 'sk-***'"),
]


@pytest.mark.parametrize(("text", "shown"), TEXTS)
def test_a_value_is_masked(text: str, shown: str) -> None:
    assert masked(text).startswith(shown)
    assert masked(text) in (shown, f"{shown}#top")


@pytest.mark.parametrize("text", WORDS)
def test_a_word_is_not(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(("code", "shown"), SOURCES)
def test_a_line_of_source_stays_one(code: str, shown: str | None) -> None:
    assert masked(code, source=True) == (shown or code)


def test_no_rule_says_anything_that_is_taken_for_a_secret() -> None:
    for rule in _rules.rules():
        for text in (rule.title, rule.remedy, rule.url):
            assert masked(text) == text


PARTS = [*(text for text, _ in TEXTS), *WORDS, *(code for code, _ in SOURCES)]
PARTS += [*("token", "password", "auth", "=", ":", "'", '"', "\\", "***", "@", "://", " ", "eyJ")]


@pytest.mark.parametrize("source", [False, True])
@pytest.mark.parametrize("between", ["", " ", "\n", ", ", "; "])
def test_what_is_masked_stays_as_it_is(between: str, source: bool) -> None:
    """In whatever order; hypothesis is no help here: tests in this process load its plugin."""
    chance = random.Random(between)
    for _ in range(300):
        text = between.join(chance.choices(PARTS, k=chance.randrange(1, 7)))
        once = masked(text, source=source)
        assert masked(once, source=source) == once, text


HOSTILE = [
    *("a", ":", "=", "token=", "token=,", "password='", 'password="x', "token=\\'", "token: b "),
    *("://", "://x:", "://x:y@", "%s://{", "eyJ", "eyJ-", "eyJaaaaaaaa.", "sk-", "token=A."),
    *("-----BEGIN PRIVATE KEY-----", "cookie=a=b;", "password={", "secret   ", "auth=('a','b'"),
    *("cookies={':", "cookies={':'a"),
    "Bearer aaaaaaaa ",
]


@pytest.mark.parametrize("source", [False, True])
@pytest.mark.parametrize("part", HOSTILE)
def test_the_time_grows_no_faster_than_the_text(part: str, source: bool) -> None:
    """Eight times the text takes 64 times as long where something is read again and again."""

    def seconds(size: int) -> float:
        text = part * (size // len(part))
        took = []
        for _ in range(3):
            start = time.process_time()
            masked(text, source=source)
            took.append(time.process_time() - start)
        return min(took)

    assert seconds(160_000) < 24 * seconds(20_000) + 0.01


@pytest.mark.parametrize("part", ["a", ":", "="])
def test_ten_megabytes_are_read_at_once(part: str) -> None:
    start = time.process_time()
    assert masked(part * 10_000_000) == part * 10_000_000
    assert time.process_time() - start < 5


def test_in_data_the_code_of_a_frame_is_source_and_all_else_is_text() -> None:
    data = {
        "code": "LS101",
        "message": "token=abc",
        "frames": [{"code": "f(token=token)", "line": 3}, {"code": "f(token='abc')"}],
    }

    assert masked_data(data) == {
        "code": "LS101",
        "message": "token=***",
        "frames": [{"code": "f(token=token)", "line": 3}, {"code": "f(token='***')"}],
    }


# -- from end to end -----------------------------------------------------------------------------

SECRETS = ["hunter2", "s3cr3t-t0ken", "MIIEow"]

TESTS = """
    import asyncio
    import logging
    import pytest

    PEM = "-----BEGIN PRIVATE KEY-----\\nMIIEow\\n-----END PRIVATE KEY-----"
    connection = None

    class Client:
        def __init__(self, url, token):
            self.waiter = asyncio.get_running_loop().create_future()

    clients = {}
    fill = "x" * 60

    async def publish():
        url = "redis://:hunter2@localhost/0"
        if url not in clients:
            clients[url] = Client("redis://:hunter2@h", token="s3cr3t-t0ken")
            return
        try:
            await wait(clients[url].waiter, password="hunter2")
        except RuntimeError as error:
            logging.getLogger("app").error("no %s with %s %s %s", fill, url, PEM, error)

    async def wait(waiter, password):
        asyncio.current_task().set_name(f"for redis://:{password}@localhost")
        try:
            await waiter
        except RuntimeError as error:
            raise RuntimeError(f"{error}: token=s3cr3t-t0ken, {PEM}")
"""

MARKED = """
    @pytest.mark.multi_loop
    async def test_publish():
        await publish()
"""


def everything_of(folder: Path) -> str:
    """All that is in a folder's files but the sources."""
    return "\n".join(
        path.read_text(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    )


@pytest.mark.parametrize("arguments", [["-v"], ["-n1"]], ids=["alone", "xdist"])
def test_nothing_that_we_write_has_it(pytester: pytest.Pytester, arguments: list[str]) -> None:
    pytester.makepyfile(test_shop=TESTS + MARKED)
    options = ["--show-capture=no", "-p", "no:cacheprovider", *arguments]
    files = [f"--loopsafe-{name}=out.{name}" for name in ("json", "sarif", "html")]

    told = pytester.runpytest_subprocess(*options, *files, "--junitxml=out.xml")
    known = pytester.runpytest_subprocess(
        *options,
        "--loopsafe-json=known.json",
        "--loopsafe-baseline=baseline.json",
        "--loopsafe-update-baseline",
    )

    told.stdout.fnmatch_lines(["*LS101 cross-loop-await (swallowed)*", "*logged:*app ERROR no x*"])
    written = {name: (pytester.path / name).read_text() for name in ("out.json", "out.sarif")}
    for text in written.values():
        assert 'await wait(clients[url].waiter, password=\\"***\\")' in text
        assert "test_shop.clients['redis://:***@localhost/0'].waiter" in text
    assert '"known": []' not in (pytester.path / "known.json").read_text()
    shown = told.stdout.str() + known.stdout.str() + everything_of(pytester.path)
    assert not [one for one in SECRETS if one in shown]


def test_the_baseline_knows_a_test_whose_name_has_a_secret(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_shop=TESTS
        + """
    @pytest.mark.multi_loop
    @pytest.mark.parametrize("url", ["redis://:hunter2@h"])
    async def test_publish(url):
        await publish()
"""
    )
    file = "--loopsafe-baseline=known.json"
    pytester.runpytest_inprocess(file, "--loopsafe-update-baseline")

    result = pytester.runpytest_inprocess(file)

    result.assert_outcomes(passed=1)
    assert "hunter2" not in (pytester.path / "known.json").read_text()


def test_a_spool_that_lasts_has_none(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, "worker")
    writer.write("line", number=1, line={"message": "password=hunter2", "logger": "app"})
    writer.write("note", text="at redis://:hunter2@h")
    writer.close()

    assert "password=***" in everything_of(tmp_path)
    assert "hunter2" not in everything_of(tmp_path)


def test_what_the_code_logged_can_be_asked_for_with_its_secrets(pytester: pytest.Pytester) -> None:
    """Also where another process has logged it: that nothing logs a password is a test's matter."""
    pytester.makepyfile(
        test_shop=TESTS
        + """
    @pytest.mark.parametrize("schedule", ["consecutive", "fork"])
    def test_logs(loopsafe_runner, schedule):
        async def log():
            logging.getLogger("app").error("password=hunter2")

        report = loopsafe_runner.run(log, schedule=schedule, loops=1)
        with pytest.raises(AssertionError) as raised:
            report.assert_not_logged("hunter2")
        assert "password=***" in str(raised.value)
        assert [line.message for line in report.logs] == ["password=hunter2"]
"""
    )

    pytester.runpytest_inprocess().assert_outcomes(passed=2)


def test_a_warning_that_a_detector_failed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, sighting: Any) -> Any:
        raise ValueError("redis://:hunter2@h is no loop")

    kept: list[asyncio.Future[None]] = []

    async def await_an_earlier_loops() -> None:
        kept.append(asyncio.get_running_loop().create_future())
        with suppress(RuntimeError):
            if len(kept) > 1:
                await kept[0]

    monkeypatch.setattr(CrossLoopAwait, "observe", broken)
    with pytest.warns(pytest_loopsafe.LoopsafeWarning) as caught:
        pytest_loopsafe.run(await_an_earlier_loops, check=False)
    (text,) = {str(one.message) for one in caught}
    assert "ValueError: redis://:***@h is no loop" in text
