"""Whether the tests notice a changed rule: ``make mutants``.

Changes one line of a rule, or of the evidence it rests on, in a copy of the project, and runs the
tests that specify it, and where these notice nothing all of ``make engine``: a comparison turned
round, ``and`` for ``or``, a ``not`` left out, a condition that always or never holds. A change that
no test notices is printed. The sample is drawn
from a seed, so that one run can be compared with the next.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
MUTATED = ("_rules", "_ledger", "_graph", "_bytecode")

TESTS: dict[str, tuple[str, ...]] = {
    "_rules/ls101": ("test_detectors", "test_swallowing"),
    "_rules/ls102": ("test_detectors", "test_shared_primitives"),
    "_rules/ls103": ("test_detectors", "test_refusals", "test_going_on", "test_swallowing"),
    "_rules/ls105": ("test_other_threads", "test_detectors"),
    "_rules/ls106": ("test_hang", "test_paused_servers"),
    "_rules/ls107": ("test_detectors", "test_shared_primitives", "test_carried_events"),
    "_rules/ls109": ("test_refused_runs",),
    "_rules/ls201_pools": ("test_pools_of_loops",),
    "_rules/ls201_sockets": ("test_lent_sockets",),
    "_rules/ls202_listeners": ("test_lent_sockets",),
    "_rules/ls202": ("test_detectors", "test_rival_connections", "test_ledger"),
    "_rules/ls203": ("test_rival_connections", "test_detectors", "test_loop_races"),
    "_rules/ls204": ("test_loop_ids",),
    "_rules/ls205_loops": ("test_slot_of_two_loops",),
    "_rules/ls206": ("test_kept_loops", "test_detectors"),
    "_rules/ls207": ("test_lost_background", "test_lost_status", "test_detectors"),
    "_rules/ls207_timers": ("test_lost_timers", "test_lost_background"),
    "_rules/ls208": ("test_replaced_locks", "test_detectors"),
    "_rules/ls209": ("test_setup_not_repeated", "test_variables_of_a_run"),
    "_rules/ls301": ("test_left_tasks", "test_detectors", "test_suspicious", "test_audit_phases"),
    "_rules/ls302": ("test_asyncgens", "test_detectors"),
    "_rules/ls303": ("test_cut_off", "test_lent_sockets", "test_ledger", "test_suspicious"),
    "_rules/ls304": ("test_kept_loops", "test_loop_races", "test_detectors"),
    "_rules/ls305": ("test_taken_loops", "test_detectors"),
    "_rules/ls306": ("test_left_queues", "test_shared_primitives", "test_detectors"),
    "_rules/ls307": ("test_outliving_work", "test_pools_of_loops"),
    "_rules/ls308": ("test_contexts_left_open",),
    "_rules/ls4": ("test_forks", "test_forked_kernel"),
    "_rules/inherited": ("test_forks", "test_forked_kernel"),
    "_ledger": ("test_rival_connections", "test_ledger", "test_detectors"),
    "_bytecode": ("test_places", "test_results", "test_bytecode", "test_looks", "test_handlers"),
    "_graph/asking": ("test_answers", "test_lost_status"),
    "_graph/keepers": ("test_outliving_work",),
    "_graph/owners": ("test_owners",),
    "_graph/reliance": ("test_lost_timers", "test_lost_background", "test_lost_status"),
    "_graph/threads": ("test_owners", "test_loop_ids"),
    "_graph/referrers": ("test_referrers", "test_owners"),
    "_graph": ("test_owners", "test_lost_background", "test_detectors"),
}
"""The tests that specify a file, by the beginning of its path; else `EVERY_RULE`."""

EVERY_RULE = ("test_detectors", "test_suspicious")

_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
}


@dataclass(frozen=True)
class Mutant:
    """One changed place of one file."""

    path: Path
    line: int
    what: str
    source: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.what}"


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What a node can be changed to, each with words for it."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        changed = copy.deepcopy(node)
        changed.ops = [_OPPOSITE[type(node.ops[0])]()]
        yield f"{ast.unparse(node)} -> {ast.unparse(changed)}", changed
    elif isinstance(node, ast.BoolOp):
        changed = copy.deepcopy(node)
        changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"{ast.unparse(node)} -> {ast.unparse(changed)}", changed
        fewer = copy.deepcopy(node)
        fewer.values = fewer.values[1:]
        yield f"{ast.unparse(node)} -> without the first", fewer
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield f"{ast.unparse(node)} -> without not", node.operand
    elif isinstance(node, ast.If):
        for value in (True, False):
            changed = copy.deepcopy(node)
            changed.test = ast.Constant(value)
            yield f"if {ast.unparse(node.test)} -> if {value}", changed


def mutants(path: Path) -> list[Mutant]:
    """All changes of one file."""
    source = path.read_text()
    tree = ast.parse(source)
    found: list[Mutant] = []
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            children = value if isinstance(value, list) else [value]
            for index, child in enumerate(children):
                if not isinstance(child, ast.AST):
                    continue
                for what, changed in _changes(child):
                    ast.copy_location(changed, child)
                    if isinstance(value, list):
                        value[index] = changed
                    else:
                        setattr(parent, name, changed)
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    found.append(Mutant(path, getattr(child, "lineno", 0), what, text))
                    if isinstance(value, list):
                        value[index] = child
                    else:
                        setattr(parent, name, child)
    return found


def tests_of(path: Path) -> list[str]:
    """The test files that specify a file of the package."""
    name = path.relative_to(ROOT / "pytest_loopsafe").with_suffix("").as_posix()
    begins = [one for one in TESTS if name.startswith(one)]
    names = TESTS[max(begins, key=len)] if begins else EVERY_RULE
    return [f"tests/{one}.py" for one in names if (ROOT / "tests" / f"{one}.py").exists()]


def passes(tests: list[str], clone: Path) -> bool:
    """Whether these tests pass on what is in the clone; a hang is no pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider"]
    return _succeeds([*command, *tests], clone)


def all_pass(clone: Path) -> bool:
    """Whether all tests pass that depend on the engine: minutes, for what the few let through."""
    options = ["ARGS=-q -x -p no:cacheprovider", f"VENV={sys.prefix}"]
    return _succeeds(["make", "engine-tests", *options], clone)


def _succeeds(command: list[str], clone: Path) -> bool:
    env = {**os.environ, "PYTHONPATH": str(clone)}
    try:
        ended = subprocess.run(
            command, cwd=clone, env=env, capture_output=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return ended.returncode == 0


_PATIENCE = 900


def survives(mutant: Mutant, clone: Path) -> bool:
    """Whether no test notices a change."""
    target = clone / mutant.path.relative_to(ROOT)
    original = target.read_text()
    target.write_text(mutant.source)
    try:
        return passes(tests_of(mutant.path), clone) and all_pass(clone)
    finally:
        target.write_text(original)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=40, help="how many changes to try")
    parser.add_argument("--seed", type=int, default=1, help="which sample")
    parser.add_argument("files", nargs="*", help="parts of paths, such as ls208")
    options = parser.parse_args()
    package = ROOT / "pytest_loopsafe"
    paths = [path for room in MUTATED for path in sorted((package / room).glob("*.py"))]
    wanted = [
        path
        for path in paths
        if not options.files or any(one in path.as_posix() for one in options.files)
    ]
    everything = [mutant for path in wanted for mutant in mutants(path)]
    chosen = random.Random(options.seed)
    sample = chosen.sample(everything, min(options.number, len(everything)))
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "project"
        skipped = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "_build")
        shutil.copytree(ROOT, clone, ignore=skipped)
        if not all_pass(clone):  # they would notice each change
            print("the tests fail without any change: make engine-tests")
            return 2
        for mutant in sample:
            if survives(mutant, clone):
                survivors += 1
                print(f"not noticed: {mutant}", flush=True)
    print(f"{survivors} of {len(sample)} changes are noticed by no test ({len(everything)} in all)")
    return 0 if survivors * 10 <= len(sample) else 1


if __name__ == "__main__":
    sys.exit(main())
