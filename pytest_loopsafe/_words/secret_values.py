"""The values of secrets in a text: in addresses, behind names like a secret's, and by their shape.

All patterns are bounded or possessive, and each search goes on behind what the last has read: the
time is linear, for a hostile text too.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

_MASK = "***"

_URL = re.compile(
    r"""://[^\s/?\#@:\[\]'"<>]*+:                 # the user, who may be nobody
    (?P<value>[^\s'"<>/?\#]+(?=@)                 # up to the last @ before the path
    |(?!//|\d{1,5}[/?\#])(?:[^\s@'"<>:]|:(?!//)){1,256}+(?=@))  # or with a / in it, and no port
    """,
    re.VERBOSE,
)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}?PRIVATE KEY[A-Z ]{0,10}-----")
_PEM_END = "-----END"
_SCHEME = re.compile(
    r"\b(?:bearer|basic)\s{1,5}(?P<value>[\w.~+/\-]{8,}+={0,2}+)(?![\w=])", re.I | re.A
)
_SHAPES = re.compile(
    r"""(?<![A-Za-z0-9])(?:
    (?P<git>gh[pousr]_|github_pat_|glpat-)[\w\-]{16,}+
    |(?P<index>npm_|hf_)[A-Za-z0-9]{30,}+
    |(?P<pypi>pypi-)[\w\-]{40,}+
    |(?P<slack>xox[abeprs]-)[A-Za-z0-9\-]{10,}+
    |(?P<api>sk-|[sr]k_(?:live|test)_)(?=[\w\-]{0,60}\d)[\w\-]{16,}+
    |(?P<amazon>AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])
    |(?P<google>AIza)[\w\-]{30,}+
    |(?P<jwt>eyJ)(?<![\w\-]...)[\w\-]{8,}+\.[\w\-]{8,}+\.[\w\-]*+
    )""",
    re.VERBOSE | re.ASCII,
)

_KEY = re.compile(
    r"""(?P<key>pass(?:word|wd|phrase|code)|pwd|secret|token|credentials?|cookies?
      |(?<![a-z])auth(?:orization)?
      |(?:api|access|private|secret|signing|encryption|account)[_\-\ ]?key
      |session[_\-\ ]?(?:id|key))
    \d{0,3}
    (?P<close>\\{0,8}["']\]?|\])?                 # of the key as a text, or of a subscript
    (?P<sep>\s{0,20}(?:=>|[:!=]?={1,2}|:(?!:)|,)\s{0,20})
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_QUOTE = r"""[bBrRuUfF]{0,2}(?P<quote>\\{1,8}["']|"{3}|'{3}|["'])"""
_TEXT = re.compile(_QUOTE)
_OPENED = re.compile(rf"(?:[(\[]|(?:[\w.]{{0,80}}\.)?_?[A-Z]\w{{0,60}}\()\s{{0,5}}{_QUOTE}")
_ANOTHER = re.compile(rf"\s{{0,5}},\s{{0,5}}{_QUOTE}")
_CALL = re.compile(r"[A-Za-z_][\w.]{0,80}\(\)", re.ASCII)
_MADE = re.compile(r"(?:[\w.]{0,80}\.)?_?[A-Z]\w{0,60}\(", re.ASCII)
_PAIRS = re.compile(r"\{[^{}\n]*+")
_IN_PAIR = re.compile(rf":\s{{0,5}}{_QUOTE}")
_INSIDE = {
    '"': re.compile(r'(?:[^"\\\n]|\\.)*+'),
    "'": re.compile(r"(?:[^'\\\n]|\\.)*+"),
}
_BARE = re.compile(
    r"""(?![<(\[{,;&=])
    (?:[^\s'"<>()\[\]{},;&\\]
      |[,;)\]}](?!\s|$|[)\]},;'"]|\\|[\w.\-]{1,40}\s?[=:])
      |\\(?![nrt"'u]))++""",
    re.VERBOSE | re.ASCII,
)
_COOKIES = re.compile(r"""[^\s;'"]++(?:;\s{0,3}[^\s;='"]{1,100}+(?:=[^\s;'"]*+)?)*+""", re.ASCII)
_SCHEMES = re.compile(r"(?:bearer|basic|digest|token|negotiate|apikey)\s{1,5}", re.I | re.A)
_ANNOTATION = re.compile(r"""\s{0,5}:\s{0,5}[A-Za-z_"'][\w.\[\]|\x20,"']{0,80}=\s{0,5}""", re.ASCII)
_PLACEHOLDERS = re.compile(
    r"""(?>\{[^{}]{0,200}\}|%(?:\(\w{1,50}\))?[sdr]|\$\{?\w{1,50}\}?|<[^<>]{0,100}>|\*{3,}|\.{3}|…
    |[\s:,;.+/@\-]|\b(?:bearer|basic|token|digest)\b)*+""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_LITERAL = re.compile(r""""(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?""")

_NO_VALUES = frozenset({"none", "null", "nil", "true", "false", "undefined", "not", "is", "str"})
_STATES = frozenset(
    {
        "accepted", "bad", "bytes", "cannot", "changed", "closed", "denied", "disabled", "empty",
        "enabled", "error", "expired", "failed", "forbidden", "found", "gone", "has", "ignored",
        "int", "invalid", "malformed", "missing", "must", "no", "ok", "optional", "refused",
        "rejected", "required", "revoked", "set", "the", "unauthorized", "unknown", "unset",
        "unsupported", "valid", "was", "wrong",
    }
)  # fmt: skip
"""What is said of a secret after a colon, and is none."""
_OBJECTS = frozenset({"auth", "credential", "credentials", "cookie", "cookies"})
"""What may be an object, ``auth=Auth(user='bob')``: it is looked into."""
_HEADERS = frozenset({"authorization", "cookie", "cookies", "apikey"})
"""What servers and clients keep as pairs: ``(b"authorization", b"Bearer ...")``."""


def without(text: str, *, source: bool) -> str:
    """The text with a mask in the place of each value, after one look at it.

    Args:
        text: any text.
        source: it is a line of Python.
    """
    text = _replaced(text, _private_keys(text))
    text = _replaced(text, (one.span("value") for one in _URL.finditer(text)))
    text = _replaced(text, _keyed(text, source=source))
    if source:
        text = _LITERAL.sub(lambda one: _replaced(one[0], _keyed(one[0], source=False)), text)
    schemes = (one for one in _SCHEME.finditer(text) if _is_random(one["value"]))
    text = _replaced(text, (one.span("value") for one in schemes))
    return _SHAPES.sub(lambda one: f"{one[one.lastgroup or 0]}{_MASK}", text)


_Span = tuple[int, int]


def _replaced(text: str, spans: Iterator[_Span]) -> str:
    """The text with a mask in the place of each span, but of those that only stand for a value.

    A span within an earlier one is masked with it.
    """
    parts, done = [], 0
    for start, end in spans:
        if start >= done and not _PLACEHOLDERS.fullmatch(text, start, end):
            parts += [text[done:start], _MASK]
            done = end
    return "".join((*parts, text[done:])) if parts else text


def _private_keys(text: str) -> Iterator[_Span]:
    at = 0
    while begin := _PEM.search(text, at):
        end = text.find(_PEM_END, begin.end())
        at = end if end >= 0 else len(text)
        yield begin.end(), at


def _keyed(text: str, *, source: bool) -> Iterator[_Span]:
    """The values of keys that are named like a secret."""
    at = 0
    while found := _KEY.search(text, at):
        at = found.end()
        for start, end in _values(text, found, source=source):
            yield start, end
            at = max(at, end)


def _values(text: str, found: re.Match[str], *, source: bool) -> Iterator[_Span]:
    at, sep, key = found.end(), found["sep"].strip(), found["key"].lower()
    if sep == "," and (not found["close"] or re.sub(r"[_\-\s]", "", key) not in _HEADERS):
        return
    if source and sep == ":" and not found["close"]:
        annotated = _ANNOTATION.match(text, found.start("sep"))
        if annotated is None:
            return
        at = annotated.end()
    quoted = _TEXT.match(text, at)
    opened = _OPENED.match(text, at) if quoted is None else None
    if quoted is not None or opened is not None:
        yield from _quoted(text, quoted or opened, several=opened is not None)  # type: ignore[arg-type]
    elif key.startswith("cookie") and (pairs := _PAIRS.match(text, at)):
        for pair in _IN_PAIR.finditer(text, at, pairs.end()):
            yield from _quoted(text, pair, several=False)
    elif sep != "," and (not source or _before(text, found) in ("?", "&")):
        span = _bare(text, at, found, sep)
        if span is not None:
            yield span


def _quoted(text: str, opening: re.Match[str], *, several: bool) -> Iterator[_Span]:
    """What is in quotes; the user and the password of ``auth=("user", "password")``."""
    more: re.Match[str] | None = opening
    while more is not None:
        quote = more["quote"]
        start = more.end()
        if quote in _INSIDE:
            end = _INSIDE[quote].match(text, start).end()  # type: ignore[union-attr]
        else:
            end = text.find(quote, start)
        if end < 0:
            end = text.find("\n", start)
            end = end if end >= 0 else len(text)
        yield start, end
        more = _ANOTHER.match(text, end + len(quote)) if several else None


def _bare(text: str, at: int, found: re.Match[str], sep: str) -> _Span | None:
    """A value without quotes, where it is one: behind a colon there may be a sentence."""
    scheme = _SCHEMES.match(text, at)
    if scheme is not None and _BARE.match(text, scheme.end()):
        at = scheme.end()
    value, key = _BARE.match(text, at), found["key"].lower()
    if value is None or _CALL.match(text, at) or (key in _OBJECTS and _MADE.match(text, at)):
        return None
    word = value[0].rstrip(".,:;!?")
    end = at + len(word)
    if not word or word.lower() in _NO_VALUES or (key == "pwd" and word[0] == "/"):
        return None
    if key.startswith("cookie") and "=" in word:
        return _COOKIES.match(text, at).span()  # type: ignore[union-attr]
    if sep == ":" and scheme is None:
        if _before(text, found) in (".", ":", "/") or found["close"] == "]":
            return None  # `app.token: 4 findings`, `test_app.py::test_token[token]: LS101`
        if word.lower() in _STATES or not _is_value(word, text[value.end() : value.end() + 1]):
            return None
    return at, end


_WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


def _before(text: str, found: re.Match[str]) -> str:
    """The character before the name that the key is the end of, ``?redis_password=``."""
    return text[max(0, found.start() - 80) : found.start()].rstrip(_WORD)[-1:]


def _is_value(word: str, after: str) -> bool:
    if word.isdecimal():
        return len(word) > 3
    return _is_random(word) or not word.isalpha() or after in ("", "\n", ",", ";", ")", "]", "}")


def _is_random(word: str) -> bool:
    """Whether no sentence has such a word."""
    return (
        len(word) >= 24
        or any(one in "0123456789=+" for one in word)
        or any(a.islower() and b.isupper() for a, b in itertools.pairwise(word))
    )
