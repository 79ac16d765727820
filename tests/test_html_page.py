"""``--loopsafe-html=PATH``: one file that shows each finding, asks nobody, runs nothing of it."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import browser
import jsonschema
import pytest
from browser import Browser, Page
from test_json_report import SCHEMA, TESTS
from test_spool import a_finding, a_process, lines

from pytest_loopsafe import __main__ as program
from pytest_loopsafe._report.page import page
from pytest_loopsafe._spool.writer import SUFFIX

HOSTILE = (
    "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
    "<!-- <script> ]]> &lt; \" ' ` ${window.pwned = 3} {{script}} javascript:alert(1)"
    "\u2028\u2029\u202e\u2066\x00\x1b[2J\x9b\ufeff\udcff\U000e0041"
)
AUDIT = {
    "watched": 120,
    "loops": 3,
    "over_loops": 84,
    "not_over_loops": [{"reason": "makes no loop", "tests": 36, "example": "test_a.py::test_b"}],
}


# -- documents, in the shape of the schema ---------------------------------------------------------


def a_frame(function: str = "publish", library: bool = False, line: int = 12) -> dict[str, Any]:
    return {
        "file": "/env/lib/python3.12/site-packages/redis/client.py" if library else "/app/cache.py",
        "line": line,
        "function": function,
        "code": "await client.publish(text)",
        "library": library,
    }


def a_finding_of(number: int = 0, **changes: Any) -> dict[str, Any]:
    stacks = [
        {
            "title": "awaited in loop 2",
            "frames": [a_frame(line=number + 1), a_frame("send", True), a_frame("read", True)],
        },
        {"title": "loop 1 was made", "frames": [a_frame("main", line=3)]},
    ]
    return {
        "code": "LS101",
        "slug": "cross-loop-await",
        "severity": "error",
        "message": f"task {number} in loop 2 awaited a Future of loop 1 (closed)",
        "loop": 2,
        "home_loop": 1,
        "home_state": "closed",
        "loops": [2],
        "owner": f"app.caches['k.{number}'].client",
        "owner_type": "redis.asyncio.client.Redis",
        "swallowed": True,
        "swallowed_at": a_frame(),
        "swallowed_likely": False,
        "logged": [{"logger": "app", "level": "ERROR", "message": "no", "pass": 2, "error": None}],
        "count": 2,
        "passes": [2],
        "stacks": stacks,
        "remedy": f"Make a new one in each loop, {number % 7}.",
        "url": "https://pytest-loopsafe.readthedocs.io/en/stable/reference/rules/LS101.html",
        "origin": None,
        "made_by": None,
        "used_by": None,
        "group": f"app.caches[{number}]",
        "run": 1,
        **changes,
    }


def a_lane(loop: int, **changes: Any) -> dict[str, Any]:
    return {
        "loop": loop,
        "name": f"loop {loop}",
        "kind": "asyncio.unix_events._UnixSelectorEventLoop",
        "thread": "MainThread",
        "pid": 4711,
        "pass": loop,
        "closed": True,
        "inherited": False,
        "made_by": None,
        "made_at": a_frame("main"),
        "run": 1,
        **changes,
    }


def a_test(*findings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A test whose findings are of one group, if it has any."""
    group = {
        "key": "k",
        "headline": "",
        "severity": "error",
        "owner": None,
        "owner_type": None,
        "codes": list(dict.fromkeys(one["code"] for one in findings)),
        "remedy": "",
        "findings": [*range(len(findings))],
        "lead": 0,
        "run": 1,
    }
    for one in findings[:1]:
        group |= {key: one[key] for key in ("owner", "owner_type", "remedy", "severity")}
        group["headline"] = f"{one['owner']} belongs to loop 1 and is used in loop 2"
    return {
        "nodeid": "tests/test_app.py::test_publish",
        "outcome": "failed",
        "loops": 2,
        "findings": [*findings],
        "groups": [group] if findings else [],
        "lanes": [a_lane(1), a_lane(2)] if findings else [],
        "known": [],
        "notes": [],
        **changes,
    }


def a_document(*tests: dict[str, Any], **more: Any) -> dict[str, Any]:
    document = {"version": 2, "tests": [*tests], **more}
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    return document


def many(number: int) -> dict[str, Any]:
    """So many findings, each of a test, a rule, and an owner of some."""
    return {
        "version": 2,
        "tests": [
            a_test(
                a_finding_of(at, code=f"LS10{at % 4 + 1}", owner=f"app.part{at % 50}.client"),
                nodeid=f"tests/test_part{at // 20}.py::test_case_{at}",
            )
            for at in range(number)
        ],
    }


def everywhere(value: Any) -> Any:
    """The same, with the hostile text at the end of each text that is not one of a few words."""
    fixed = ("severity", "outcome", "code", "codes", "home_state")
    if isinstance(value, dict):
        return {key: one if key in fixed else everywhere(one) for key, one in value.items()}
    if isinstance(value, list):
        return [everywhere(one) for one in value]
    return value + HOSTILE if isinstance(value, str) else value


# -- the file ----------------------------------------------------------------------------------


class Parsed(HTMLParser):
    """The tags of a page with their attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._is_text = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._is_text = tag in ("script", "style")
        if self._is_text:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self._is_text:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._is_text = False


def data_of(text: str) -> dict[str, Any]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    loaded: dict[str, Any] = json.loads(data)
    return loaded


def test_all_of_the_document_is_in_it() -> None:
    document = a_document(a_test(a_finding_of(1), a_finding_of(2)), a_test(), audit=AUDIT)

    data = data_of(page(document))

    report = data["report"]
    for test in report["tests"]:
        for one in (*test["findings"], *test["groups"]):
            one["remedy"] = data["texts"][one["remedy"]]
        for one in test["findings"]:
            for stack in one["stacks"]:
                stack["frames"] = [data["frames"][at] for at in stack["frames"]]
    assert report == document


def test_what_many_findings_share_is_in_it_once() -> None:
    """Ten thousand findings are to be a file that can be attached to a build."""
    one, hundred = (len(page(many(number))) for number in (1, 100))

    assert (hundred - one) / 99 < len(json.dumps(many(1)["tests"][0])) * 0.75


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else() -> None:
    parsed = Parsed(page(a_document(a_test(a_finding_of()))))

    (policy,) = [
        attributes["content"]
        for tag, attributes in parsed.tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    style, _, script = (
        f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in parsed.texts
    )
    assert dict(one.strip().split(" ", 1) for one in str(policy).split(";")) == {
        "default-src": "'none'",
        "script-src": script,
        "style-src": style,
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_hostile_text_adds_no_tag_to_its_source() -> None:
    test = a_test(a_finding_of(), known=[a_finding_of()], notes=["a note"])
    plain = page(a_document(test, audit=AUDIT))
    hostile = page(everywhere(a_document(test, audit=AUDIT)))

    assert Parsed(hostile).tags == Parsed(plain).tags
    data = hostile.partition('id="data">')[2].partition("</script>")[0]
    assert data.isascii()
    assert not set("<>&") & set(data)
    assert data_of(hostile)["report"]["tests"][0]["notes"] == ["a note" + HOSTILE]


def test_its_source_sets_no_markup_and_makes_no_code_of_texts() -> None:
    source = page(a_document())
    for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                 "new Function", "srcdoc", "DOMParser", "createContextualFragment"):  # fmt: skip
        assert name not in source


# -- the option --------------------------------------------------------------------------------


def test_the_option_writes_what_the_json_file_has(app: pytest.Pytester) -> None:
    app.makepyfile(test_shop=TESTS)

    app.runpytest_inprocess("--loopsafe-html=page.html", "--loopsafe-json=report.json")

    found = data_of((app.path / "page.html").read_text("utf-8"))["report"]["tests"]
    told = json.loads((app.path / "report.json").read_text("utf-8"))["tests"]
    assert [one["nodeid"] for one in found] == [one["nodeid"] for one in told]
    assert [one["groups"] and one["groups"][0]["headline"] for one in found] == [
        one["groups"] and one["groups"][0]["headline"] for one in told
    ]


def test_a_session_that_ends_early_is_written_as_far_as_it_got(app: pytest.Pytester) -> None:
    app.makepyfile(
        test_shop="""
        import pytest
        import app

        @pytest.mark.multi_loop
        async def test_publish():
            await app.publish()

        def test_ends():
            raise KeyboardInterrupt
        """
    )

    app.runpytest_subprocess("--loopsafe-html=page.html")

    (test,) = data_of((app.path / "page.html").read_text("utf-8"))["report"]["tests"]
    assert [one["code"] for one in test["findings"]] == ["LS101"]


@pytest.mark.parametrize("path", ["missing/page.html", "folder", ""])
def test_a_path_that_cannot_be_written_is_a_usage_error_that_names_it(
    pytester: pytest.Pytester, path: str
) -> None:
    pytester.mkdir("folder")
    pytester.makepyfile("def test_plain(): pass")

    result = pytester.runpytest_inprocess(f"--loopsafe-html={path}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *--loopsafe-html={path}*"])
    assert "passed" not in result.stdout.str()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_page_that_cannot_be_written_costs_one_line_and_the_exit_code(
    app: pytest.Pytester,
) -> None:
    app.makepyfile(
        test_shop="""
        import app
        import pytest

        @pytest.mark.multi_loop
        def test_leaves_something_open():
            app.leave_open()
        """
    )

    result = app.runpytest_inprocess("--loopsafe-html=/dev/full", "--loopsafe-json=report.json")

    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "LS303 transport-left-open" in result.stdout.str()
    line = "--loopsafe-html=/dev/full: not written: No space left on device"
    assert [one for one in result.outlines if "--loopsafe-html" in one] == [line]
    assert len(json.loads((app.path / "report.json").read_text())["tests"]) == 1


def test_a_spool_has_a_page_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = {"pid": 1, "process": "worker child", "task": "app.pay", "task_id": "1"}
    found = a_finding(origin={**origin, "invocation": 2})
    (tmp_path / f"1-1{SUFFIX}").write_bytes(lines(a_process(), found))

    status = program.main(["report", str(tmp_path), "--html", str(tmp_path / "page.html")])

    assert status == 1
    assert "LS101 cross-loop-await" in capsys.readouterr().out
    data = data_of((tmp_path / "page.html").read_text("utf-8"))
    (finding,) = data["report"]["tests"][0]["findings"]
    assert finding["origin"]["task"] == "app.pay"
    assert data["worker"]["summary"] == "1 process, 0 calls"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("missing/page.html", 2, "there is no such folder"),
        pytest.param(
            "/dev/full",
            1,
            "not written: No space left on device",
            marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full"),
        ),
    ],
)
def test_a_spools_page_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, status: int, words: str
) -> None:
    (tmp_path / f"1-1{SUFFIX}").write_bytes(lines(a_process()))

    try:
        ended: Any = program.main(["report", str(tmp_path), "--html", path])
    except SystemExit as usage:
        ended = usage.code

    assert ended == status
    assert f"--html={path}: {words}" in capsys.readouterr().err


# -- what is seen ------------------------------------------------------------------------------

needs_chromium = pytest.mark.skipif(browser.executable() is None, reason=browser.INSTALL)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    """A page of 1280 x 800; at the end it has complained of nothing and asked for nothing."""
    opened = chromium.open()
    yield opened
    assert opened.problems() == []
    opened.close()


def show(tab: Page, folder: Path, document: dict[str, Any], worker: Any = None) -> Page:
    file = folder / "page.html"
    file.write_text(page(document, worker), encoding="utf-8")
    tab.go(file)
    tab.painted()
    return tab


def text_of(tab: Page, selector: str) -> str:
    return str(tab.eval(f"document.querySelector({selector!r}).innerText"))


def number_of(tab: Page, selector: str) -> int:
    return int(tab.eval(f"document.querySelectorAll({selector!r}).length"))


def selected(tab: Page) -> int:
    """The place of the row that is chosen, from 1."""
    return int(tab.eval("document.querySelector('[aria-selected=true]').ariaPosInSet"))


@needs_chromium
def test_a_group_has_its_picture_its_owner_its_remedy_and_both_stacks(
    tab: Page, tmp_path: Path
) -> None:
    show(tab, tmp_path, a_document(a_test(a_finding_of(5), notes=["some note"])))

    assert text_of(tab, "h1") == "app.caches['k.5'].client belongs to loop 1 and is used in loop 2"
    lanes = tab.eval("[...document.querySelectorAll('.picture .name')].map(e => e.textContent)")
    assert lanes == ["loop 1closed", "loop 2closed"]
    assert number_of(tab, ".picture .arrow") == number_of(tab, ".picture .ribbon .outlives") == 1
    chain = tab.eval("[...document.querySelectorAll('.chain li')].map(e => e.innerText)")
    assert chain == ["app", "caches", "['k.5']", "client"]
    assert "Make a new one in each loop, 5." in text_of(tab, ".remedy")
    left, right = tab.eval(
        "[...document.querySelectorAll('.stacks > div')].map(e =>"
        " ({text: e.innerText, x: e.getBoundingClientRect().x}))"
    )
    assert "awaited in loop 2" in left["text"]
    assert "cache.py:6" in left["text"]
    assert "2 frames of redis" in left["text"]
    assert "loop 1 was made" in right["text"]
    assert left["x"] < right["x"]
    assert "some note" in text_of(tab, ".notes")
    assert tab.eval("document.querySelector('.codes a').href").endswith("/LS101.html")


@needs_chromium
def test_a_click_on_an_arrow_or_a_finding_shows_its_stacks(tab: Page, tmp_path: Path) -> None:
    other = a_finding_of(1, code="LS103", message="the other")
    show(tab, tmp_path, a_document(a_test(a_finding_of(), other)))
    opened = "document.querySelector('.finding.open .message').textContent"
    assert "task 0" in tab.eval(opened)

    tab.click(".pill:last-of-type rect")

    assert tab.eval(opened) == "the other"
    assert tab.eval("document.querySelector('.pill.chosen text').textContent") == "LS103"

    tab.click(".finding:first-child .seen")

    assert "task 0" in tab.eval(opened)


CHILD = {"pid": 9, "process": "child", "task": None, "task_id": None, "invocation": None}
ODD = {
    "no lane": a_test(a_finding_of(), lanes=[]),
    "no home": a_test(a_finding_of(home_loop=None, home_state=None)),
    "no loop": a_test(a_finding_of(loop=None, loops=[])),
    "neither": a_test(a_finding_of(loop=None, loops=[], home_loop=None)),
    "a home before the test": a_test(a_finding_of(home_loop=-3), lanes=[a_lane(-3), a_lane(2)]),
    "one loop for both": a_test(a_finding_of(loop=1, loops=[1])),
    "another process": a_test(
        a_finding_of(origin=CHILD),
        lanes=[a_lane(1), a_lane(1, pid=9, inherited=True), a_lane(2, pid=9, closed=False)],
    ),
    "a state that nobody knows": a_test(a_finding_of(), lanes=[a_lane(1, closed=None), a_lane(2)]),
    "a home that is later": a_test(a_finding_of(home_loop=2, loop=1, loops=[1])),
    "threads": a_test(a_finding_of(), lanes=[a_lane(1, thread="a"), a_lane(2, thread="b")]),
    "many of no loop": a_test(
        *(a_finding_of(loop=None, loops=[], home_loop=at, code=f"LS10{at}") for at in (1, 2, 3)),
        *(a_finding_of(loop=None, loops=[], home_loop=2, code=f"LS20{at}") for at in (1, 2, 3)),
    ),
    "no stack, no owner": a_test(a_finding_of(stacks=[], owner=None, owner_type=None)),
    "50 loops of 3,000": a_test(
        a_finding_of(loops=[*range(2, 52)]), lanes=[a_lane(at) for at in range(1, 3001)]
    ),
    "another run": a_test(a_finding_of(run=2), lanes=[a_lane(1, run=2), a_lane(2, run=2)]),
}


@needs_chromium
def test_any_finding_has_a_picture_within_its_frame(tab: Page, tmp_path: Path) -> None:
    """Each mark is on the picture, on a lane, and beside no other."""
    show(tab, tmp_path, a_document(*(a_test for a_test in ODD.values())))

    for name in ODD:
        shown = tab.eval(
            "(() => { const box = document.querySelector('.picture').getBBox();"
            "const {width, height} = document.querySelector('.picture').viewBox.baseVal;"
            "const pills = [...document.querySelectorAll('.pill rect')].map((e) => e.getBBox());"
            "const apart = pills.every((a, i) => pills.every((b, j) => i === j || a.y !== b.y"
            "  || a.x + a.width <= b.x || b.x + b.width <= a.x));"
            "return {inside: box.x >= 0 && box.y >= 0"
            " && box.x + box.width <= width && box.y + box.height <= height,"
            " pills: pills.length, lanes: document.querySelectorAll('.lane').length, apart,"
            " isNumber: !document.querySelector('.picture').outerHTML.includes('NaN')}; })()"
        )
        assert shown["inside"], name
        assert shown["isNumber"], name
        assert shown["apart"], name
        assert 1 <= shown["pills"] <= 50, name
        assert 1 <= shown["lanes"] <= 40, name
        tab.press("j")
    assert tab.problems() == []


@needs_chromium
@pytest.mark.parametrize(
    ("state", "passes", "columns", "outlives"),
    [
        ("closed", (1, 2), ["pass 1", "pass 2"], 1),
        ("running", (1, 2), ["pass 1", "pass 2"], 0),
        ("paused", (1, 2), ["pass 1", "pass 2"], 0),
        ("running", (2, 1), ["passes at once"], 0),
    ],
)
def test_a_loop_has_not_ended_where_it_was_seen_alive(
    tab: Page,
    tmp_path: Path,
    state: str,
    passes: tuple[int, int],
    columns: list[str],
    outlives: int,
) -> None:
    """Whichever pass had made it: passes may run at once, or a loop may go on in a later one."""
    lanes = [a_lane(at, **{"pass": one, "thread": f"T{at}"}) for at, one in enumerate(passes, 1)]
    show(tab, tmp_path, a_document(a_test(a_finding_of(home_state=state), lanes=lanes)))

    shown = tab.eval("[...document.querySelectorAll('.axis')].map((one) => one.textContent)")
    assert [one for one in shown if one.startswith("pass")] == columns
    assert number_of(tab, ".ribbon .outlives") == outlives


@needs_chromium
def test_the_filter_looks_for_words_and_the_selects_for_one_thing_each(
    tab: Page, tmp_path: Path
) -> None:
    show(tab, tmp_path, many(200))
    assert text_of(tab, "#shown") == "200 findings in 200 groups"

    for field, value, left in (
        ("words", "TEST_CASE_19", 11),
        ("words", "part7.client test_case_1", 2),
        ("words", "no such thing", 0),
        ("rule", "LS102", 50),
        ("test", "tests/test_part3.py::test_case_77", 1),
        ("owner", "app.part9.client", 4),
        ("kind", "error", 200),
    ):
        event = "input" if field == "words" else "change"
        tab.eval(
            f"(() => {{ const one = document.getElementById({field!r}); one.value = {value!r};"
            f"one.dispatchEvent(new Event({event!r})); }})()"
        )
        tab.painted()
        groups = "1 group" if left == 1 else f"{left} groups"
        assert f"in {groups}" in text_of(tab, "#shown"), value
        if left == 0:
            assert text_of(tab, "h1") == "No finding is like that"
        tab.click("#clear")
    assert text_of(tab, "#shown") == "200 findings in 200 groups"


@needs_chromium
def test_all_of_it_can_be_done_with_the_keyboard(tab: Page, tmp_path: Path) -> None:
    document = many(50)
    document["tests"][2] = a_test(*(a_finding_of(at) for at in range(3)))
    show(tab, tmp_path, document)
    focused = "document.activeElement.id || document.activeElement.className"

    assert selected(tab) == 1
    tab.press("j", "ArrowDown", "j", "k")
    assert selected(tab) == 3
    tab.press("Enter", "j", "j", "Enter")
    assert "task 1" in tab.eval("document.querySelector('.finding.open').textContent")
    assert selected(tab) == 3
    tab.press("Escape")
    assert tab.eval(focused) == "list"
    tab.press("End")
    assert selected(tab) == 50
    tab.press("/", *"case_7")
    assert tab.eval(focused) == "words"
    assert "of 50" in text_of(tab, "#shown")
    tab.press("Escape")
    assert text_of(tab, "#shown") == "52 findings in 50 groups"
    tab.press("Escape")
    assert tab.eval(focused) == "list"


@needs_chromium
def test_a_thousand_findings_open_within_a_second_and_ten_thousand_can_be_used(
    tab: Page, tmp_path: Path
) -> None:
    """On a machine that does nothing else. Here it may do much: the bounds are wider."""
    show(tab, tmp_path, many(1_000))
    opened = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert tab.eval(opened) < 3_000

    show(tab, tmp_path, many(10_000))
    assert tab.eval(opened) < 15_000
    assert number_of(tab, ".row") < 40  # only what is seen is in the document
    assert number_of(tab, "*") < 5_000
    tab.press("End")
    assert selected(tab) == 10_000
    assert "test_case_9999" in text_of(tab, ".row:last-child")
    steps = tab.eval(
        "(() => { const began = performance.now(); const words = document.getElementById('words');"
        "words.value = 'test_case_99'; words.dispatchEvent(new Event('input'));"
        "return new Promise((done) => requestAnimationFrame(() =>"
        " done(performance.now() - began))); })()"
    )
    assert steps < 3_000
    tab.painted()
    assert "111 findings in 111 groups" in text_of(tab, "#shown")


@needs_chromium
def test_nothing_of_a_hostile_document_runs_and_all_of_it_can_be_read(
    tab: Page, tmp_path: Path
) -> None:
    test = a_test(a_finding_of(1), known=[a_finding_of(2)], notes=["a note"])
    show(tab, tmp_path, everywhere(a_document(test, audit=AUDIT)), {"summary": HOSTILE})

    tab.eval("window.dispatchEvent(new Event('beforeprint'))")
    for key in ("j", "k"):
        tab.press(key)
        tab.eval("document.querySelectorAll('.seen').forEach((one) => one.click())")
        tab.eval("document.querySelectorAll('.seen').forEach((one) => one.click())")
        tab.eval("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    links = tab.eval("[...document.querySelectorAll('main a')].map((one) => one.href)")
    tab.press("/", *"</script>")
    assert text_of(tab, "#shown").startswith("2 findings")
    tab.press("Escape", "Escape")

    assert tab.eval("typeof window.pwned") == "undefined"
    assert number_of(tab, "img, iframe, object, embed, script:not(#data)") == 1  # its own script
    assert [one.partition("stable/")[0] for one in links] == [
        "https://pytest-loopsafe.readthedocs.io/en/"
    ]
    everything = tab.eval("document.body.innerText + document.querySelector('.picture').outerHTML")
    assert "<img src=x onerror=" in everything
    assert r"\u202e\u2066\x00\x1b[2J\x9b\ufeff\udcff\U000e0041" in everything
    assert not set("\u202e\u2066\x1b\x9b\ufeff") & set(everything)


@needs_chromium
@pytest.mark.parametrize("url", ["javascript:pwned=1", "data:text/html,x", "file:///etc", ""])
def test_only_addresses_of_the_web_are_links(tab: Page, tmp_path: Path, url: str) -> None:
    show(tab, tmp_path, a_document(a_test(a_finding_of(url=url))))

    assert number_of(tab, ".codes .code") == 1
    assert number_of(tab, ".codes a") == 0


@needs_chromium
def test_where_nothing_was_found_it_says_what_was_watched(tab: Page, tmp_path: Path) -> None:
    clean = a_test(outcome="passed", loops=3, notes=["one thing could not be seen"])
    show(tab, tmp_path, a_document(clean, clean | {"nodeid": "test_b"}, audit=AUDIT))

    shown = text_of(tab, ".main")
    assert "Nothing is bound to the wrong loop" in shown
    assert "2 tests watched over 6 loops. Nothing was found." in shown
    assert "120 tests watched, 84 of them over 3 loops." in shown
    assert "36 tests not: makes no loop" in shown
    assert "one thing could not be seen" in shown


@needs_chromium
def test_what_is_known_and_what_is_of_a_worker_say_so(tab: Page, tmp_path: Path) -> None:
    show(tab, tmp_path, a_document(a_test(known=[a_finding_of()])))
    assert text_of(tab, ".crumb .kind") == "known"
    assert text_of(tab, "#sum .stat") == "1 known"

    origin = {"pid": 9, "process": "worker child", "task": "app.pay", "task_id": "x"}
    found = a_finding_of(origin=origin | {"invocation": 3})
    show(tab, tmp_path, a_document(a_test(found)), {"summary": "2 processes, 40 calls"})
    assert text_of(tab, ".row .where") == "app.pay"
    assert "worker child 9, app.pay, call 3" in text_of(tab, ".finding .facts")
    assert "2 processes, 40 calls" in text_of(tab, "#sum")


@needs_chromium
def test_it_is_dark_or_light_as_the_user_prefers_or_says(tab: Page, tmp_path: Path) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        show(tab, tmp_path, a_document(a_test(a_finding_of())))
        seen[scheme] = tab.eval(back)
    assert seen["light"] != seen["dark"]

    tab.click("#theme")
    assert tab.eval(back) == seen["light"]
    tab.click("#theme")
    assert tab.eval(back) == seen["dark"]
    tab.eval("localStorage.clear()")


@needs_chromium
def test_on_paper_is_what_is_shown_and_the_list(tab: Page, tmp_path: Path) -> None:
    tab.prefer("dark", "print")
    show(tab, tmp_path, many(30))
    tab.eval("window.dispatchEvent(new Event('beforeprint'))")

    assert number_of(tab, ".paper li") == 30
    for selector, is_shown in (
        (".paper", True),
        (".group", True),
        (".side", False),
        (".top", False),
    ):
        display = tab.eval(f"getComputedStyle(document.querySelector('{selector}')).display")
        assert (display != "none") is is_shown, selector
    assert len(re.findall(rb"/Type\s*/Page\b", tab.pdf())) > 2  # all of it, and not one screen


@needs_chromium
def test_it_fits_a_narrow_screen_one_pane_at_a_time(tab: Page, tmp_path: Path) -> None:
    tab.size(400, 800)
    show(tab, tmp_path, a_document(a_test(a_finding_of(owner="app." + "long_name_" * 30))))
    shown = "['.side', '.main'].map((e) => document.querySelector(e).offsetWidth > 0)"

    assert tab.eval(shown) == [True, False]
    tab.click(".row")
    assert tab.eval(shown) == [False, True]
    assert tab.eval("document.documentElement.scrollWidth") == 400
    assert tab.eval("document.querySelector('.main').scrollWidth") <= 400
    tab.click(".back")
    assert tab.eval(shown) == [True, False]
