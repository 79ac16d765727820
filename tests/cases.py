"""The corpus: what a case's file says of itself, and its two twins as callables.

A case is read without being run, so that collecting the tests imports none of the libraries that
cases need. Each run loads the file anew: module state is what the bugs are made of.
"""

import ast
import functools
import importlib.util
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

CORPUS = Path(__file__).with_name("corpus")
TWINS = ("broken", "fixed")
SERVERS = ("redis", "postgres", "nats")
RUN_SETTINGS = ("loops", "schedule", "concurrency", "timeout")

_count = itertools.count(1)


class CaseError(ValueError):
    """A file of the corpus is not what a case has to be; the message says which and why."""


@dataclass(frozen=True)
class Case:
    """One bug report, minimised.

    Attributes:
        path: its file.
        summary: the first line of its docstring.
        source: where the bug was reported.
        finds: the codes that have to be among the broken twin's findings.
        parameters: for each twin, the servers' URLs that it takes: ``redis_url``.
        servers: what has to run for it.
        run: settings for `pytest_loopsafe.run`.
    """

    path: Path
    summary: str
    source: str
    finds: tuple[str, ...]
    parameters: Mapping[str, tuple[str, ...]]
    servers: tuple[str, ...] = ()
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The file's name, which is also the case's."""
        return self.path.stem


def paths() -> list[Path]:
    """The files of the corpus."""
    return sorted(CORPUS.glob("*.py"))


# -- reading -------------------------------------------------------------------------------------


def read(path: Path) -> Case:
    """What the file says of itself, checked.

    Raises:
        CaseError: something is missing, or has a value that is not allowed.
    """
    try:
        tree = ast.parse(path.read_text())
        values = _constants(tree)
        case = Case(
            path=path,
            summary=(ast.get_docstring(tree) or "").partition("\n")[0],
            source=_typed(values, "SOURCE", str),
            finds=_typed(values, "FINDS", tuple),
            servers=_typed(values, "SERVERS", tuple, ()),
            run=_typed(values, "RUN", dict, {}),
            parameters={twin: _parameters(tree, twin) for twin in TWINS},
        )
        _check(case)
    except (CaseError, SyntaxError) as error:
        raise CaseError(f"{path.name}: {error}") from None
    return case


def _constants(tree: ast.Module) -> dict[str, Any]:
    """The literals that SOURCE, FINDS, SERVERS and RUN are given."""
    found = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id in ("SOURCE", "FINDS", "SERVERS", "RUN"):
            try:
                found[target.id] = ast.literal_eval(node.value)
            except ValueError:
                raise CaseError(f"{target.id} has to be a literal") from None
    return found


_REQUIRED = object()


def _typed(values: dict[str, Any], name: str, kind: type, default: Any = _REQUIRED) -> Any:
    value = values.get(name, default)
    if value is _REQUIRED:
        raise CaseError(f"{name} is missing")
    if not isinstance(value, kind):
        raise CaseError(f"{name} has to be a {kind.__name__}, not {value!r}")
    return value


def _parameters(tree: ast.Module, twin: str) -> tuple[str, ...]:
    """The parameters without a default of a twin; one with a default is the case's own affair."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == twin:
            given = node.args.posonlyargs + node.args.args
            required = given[: len(given) - len(node.args.defaults)]
            named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            required += [argument for argument, default in named if default is None]
            return tuple(argument.arg for argument in required)
    raise CaseError(f"there is no function {twin}()")


def _check(case: Case) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", case.slug):
        raise CaseError("the file's name has to be in lower_snake_case")
    if not case.summary:
        raise CaseError("there is no docstring: the first line is the summary")
    if not re.fullmatch(r"https://\S+", case.source):
        raise CaseError(f"SOURCE has to be an https URL, not {case.source!r}")
    if not case.finds:
        raise CaseError("FINDS is empty: name the rules that the broken twin is an instance of")
    for code in case.finds:
        if not re.fullmatch(r"LS[1-9][0-9]{2}", str(code)):
            raise CaseError(f"FINDS: {code!r} is no rule's code")
    _check_names("SERVERS", case.servers, SERVERS)
    _check_names("RUN", case.run, RUN_SETTINGS)
    urls = [f"{server}_url" for server in case.servers]
    for twin, parameters in case.parameters.items():
        _check_names(f"{twin}() without such a server in SERVERS", parameters, urls)
    unused = set(urls).difference(*case.parameters.values())
    if unused:
        raise CaseError(f"SERVERS: neither twin takes {', '.join(sorted(unused))}")


def _check_names(what: str, given: Any, allowed: Any) -> None:
    for name in given:
        if name not in allowed:
            raise CaseError(f"{what}: unknown {name!r}; known: {', '.join(allowed) or 'none'}")


# -- running -------------------------------------------------------------------------------------


@contextmanager
def loaded(case: Case) -> Iterator[ModuleType]:
    """The case's file as a module of its own, which nobody has used yet, and gone afterwards."""
    name = f"corpus_{case.slug}_{next(_count)}"
    spec = importlib.util.spec_from_file_location(name, case.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.modules.pop(name, None)


@contextmanager
def fresh_twin(case: Case, twin: str, urls: Mapping[str, str]) -> Iterator[Callable[[], Any]]:
    """``broken`` or ``fixed`` of a fresh module, to be called without arguments.

    Args:
        case: which case.
        twin: which of the two.
        urls: by server, ``{"redis": "redis://..."}``; the Redis database among them is flushed.
    """
    if "redis" in case.servers:
        _flush(urls["redis"])
    given = {name: urls[name.removesuffix("_url")] for name in case.parameters[twin]}
    with loaded(case) as module:
        function = getattr(module, twin)
        yield functools.partial(function, **given) if given else function


def _flush(url: str) -> None:
    import redis  # only where a case needs it

    with redis.Redis.from_url(url) as client:
        client.flushdb()
