"""Deliberate faults in the science, one at a time, and the test that turns red: `python tests/mutate.py [ids...]`.

Each mutation of mutations.toml is made in a copy of the package, in a folder of its own that is gone afterwards; its
tests run there, with empty caches. A test counts as red where an assertion of it fails, and it passed without the
mutation. Exit status 1 where a mutation stays green, fits nowhere or in two places, or its test fails without it.
"""
import argparse
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT, PACKAGE = TESTS.parent, TESTS.parent / 'deepstruct'
RUNNING = set() # processes
# Each run is a process of its own, forked where that can be done from one that has imported what all need.
PROCESSES = multiprocessing.get_context('spawn' if sys.platform == 'win32' else 'forkserver')
PROCESSES.set_forkserver_preload('''pytest torch numpy numba pywt scipy.integrate scipy.interpolate scipy.optimize
    scipy.sparse.linalg scipy.stats sklearn.linear_model matplotlib.figure PIL.Image skimage safetensors.torch
    tqdm'''.split())
# how junit names the failure of an assert, of pytest.raises and pytest.warns
ASSERTIONS = 'AssertionError', 'assert ', 'Failed: DID NOT '


@dataclass(frozen=True)
class Mutation:
    id: str
    module: str # below deepstruct/, with dots
    function: str # where it stands, for readers
    old: str # stands once in the module
    new: str
    fault: str # one sentence
    tests: tuple # file::function, each of which turns red

    @property
    def path(self): return Path(*self.module.split('.')).with_suffix('.py')

    def applied(self, source): # text of the module -> mutated text
        if (n := source.count(self.old)) != 1: raise ValueError(f'its text stands {n} times in {self.path}')
        out = source.replace(self.old, self.new)
        compile(out, str(self.path), 'exec')
        return out


def load(path=TESTS / 'mutations.toml'):
    rows = tomllib.loads(path.read_text(encoding='utf-8'))['mutation']
    out = [Mutation(**row | {'tests': tuple(row['tests'])}) for row in rows]
    if len({m.id for m in out}) != len(out): raise ValueError('an id stands twice')
    return out


def copied(folder, mutation=None): # the package, mutated where one is given
    for f in PACKAGE.rglob('*.py'):
        to = folder / 'deepstruct' / f.relative_to(PACKAGE)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(f, to)
    if mutation:
        at = folder / 'deepstruct' / mutation.path
        at.write_text(mutation.applied(at.read_text(encoding='utf-8')), encoding='utf-8')


def here(folder, ids): # in a process of its own, which leads a group: pytest in the folder, with its package
    os.setsid()
    log = os.open(folder / 'said', os.O_WRONLY | os.O_CREAT)
    for to in (1, 2): os.dup2(log, to)
    (folder / 'tmp').mkdir()
    own = {'DEEPSTRUCT_ROOT': ROOT, 'DEEPSTRUCT_CACHE': folder / 'cache', 'DEEPSTRUCT_OUT': folder / 'out',
           'TMPDIR': folder / 'tmp', 'PYTHONPATH': folder, 'PYTHONDONTWRITEBYTECODE': 1, 'DEEPSTRUCT_QUIET': 1,
           'PYTEST_ADDOPTS': ''}
    os.environ.update({k: str(v) for k, v in own.items()})
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode, tempfile.tempdir = True, None
    import deepstruct
    import pytest
    assert Path(deepstruct.__file__).is_relative_to(folder), f'{deepstruct.__file__} is not the mutated package'
    pytest.main(['-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '--tb=short', f'--junitxml={folder / "report.xml"}',
                 *(str(TESTS / i) for i in ids)])


def stopped(p): # with all that it has started
    try: os.killpg(p.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError): p.kill()


def tried(folder, ids, seconds): # -> {file::function: green, red, broken or absent}, why, seconds
    report, begun = folder / 'report.xml', time.perf_counter()
    p = PROCESSES.Process(target=here, args=(folder, ids))
    p.start(); RUNNING.add(p)
    try: p.join(seconds); late = p.is_alive()
    finally: stopped(p); p.join(); RUNNING.discard(p)
    spent = time.perf_counter() - begun
    if late or not report.exists():
        said = (folder / 'said').read_text(errors='replace') if (folder / 'said').exists() else ''
        why = f'more than {seconds:.0f} seconds' if late else said.strip().split('\n')[-1]
        return {i: 'broken' for i in ids}, why, spent
    found, why = {}, ''
    for case in ET.parse(report).iter('testcase'):
        name = f'{case.get("classname").split(".")[-1]}.py::{case.get("name").split("[")[0]}'
        bad = [*case.iter('failure'), *case.iter('error')]
        told = bad[0].get('message', '') if bad else ''
        state = 'green' if not bad else 'red' if bad[0].tag == 'failure' and told.startswith(ASSERTIONS) else 'broken'
        if case.find('skipped') is not None: state = 'skipped'
        found.setdefault(name, set()).add(state)
        why = why or told.strip().split('\n')[0]
    first = lambda states: next(s for s in ('red', 'broken', 'skipped', 'green') if s in states)
    wanted = {i: i for i in ids if '::' in i} or dict.fromkeys(found)
    return {i: first(found[i]) if i in found else 'absent' for i in wanted}, why, spent


def run(ids, seconds, mutation=None): # in a folder that is gone afterwards
    with tempfile.TemporaryDirectory(prefix='mutation-') as folder:
        folder = Path(folder).resolve()
        try: copied(folder, mutation)
        except (ValueError, SyntaxError) as e: return dict.fromkeys(ids, 'not applied'), str(e), 0.
        return tried(folder, ids, seconds)


def unmutated(mutations, seconds, map): # -> {test: state}
    files = {}
    for t in sorted({t for m in mutations for t in m.tests}): files.setdefault(t.split('::')[0], []).append(t)
    out = {}
    for found, why, _ in map(lambda ids: run(ids, seconds * len(ids)), files.values()): out |= found
    return out


def table(mutations, healthy, results): # prints, returns how many are not as they should be
    wide, faults = max(len(m.id) for m in mutations), 0
    for m, (found, why, seconds) in zip(mutations, results):
        for t, state in found.items():
            if (was := healthy.get(t, 'green')) != 'green': state = f'without it {was}'
            right = state == 'red'
            faults += not right
            shown = state if right else 'GREEN' if state == 'green' else f'{state}: {why}'[:200]
            print(f'{m.id:{wide}}  {t}  {shown}  {seconds:.1f} s', flush=True)
    return faults


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('ids', nargs='*', help='mutations, by their ids or beginnings of them; default all')
    p.add_argument('--jobs', type=int, default=1, help='at the same time')
    p.add_argument('--timeout', type=float, default=300., help='seconds of a test')
    p.add_argument('--among', nargs='+', metavar='FILE', help='which tests of these files turn red, in place of the '
                   'named ones: to find a test for a new mutation')
    return p.parse_args()


def main():
    given, mutations = arguments(), load()
    if lost := [i for i in given.ids if not any(m.id.startswith(i) for m in mutations)]:
        sys.exit(f'no mutation is called {", ".join(lost)}; expected some of: {", ".join(m.id for m in mutations)}')
    chosen = [m for m in mutations if not given.ids or any(m.id.startswith(i) for i in given.ids)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ['OMP_NUM_THREADS'] = '1'
    pool = ThreadPoolExecutor(given.jobs)
    try:
        if given.among:
            files = [Path(f).name for f in given.among]
            if lost := [f for f in files if not (TESTS / f).is_file()]: sys.exit(f'tests/{lost[0]} is not there')
            for m, (found, why, s) in zip(chosen, pool.map(lambda m: run(files, 10 * given.timeout, m), chosen)):
                reds = [t for t, state in found.items() if state == 'red']
                print(m.id, *(reds or [f'GREEN {why}']), f'{s:.1f} s', sep='\n  ', flush=True)
            return 0
        healthy = unmutated(chosen, given.timeout, pool.map)
        results = pool.map(lambda m: run(m.tests, given.timeout * len(m.tests), m), chosen)
        faults = table(chosen, healthy, results)
        print(f'{len(chosen)} mutation(s), ' + (f'{faults} test(s) not red' if faults else 'all caught'))
        return bool(faults)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for p in list(RUNNING): stopped(p)
        pool.shutdown(wait=True)


if __name__ == '__main__':
    try: sys.exit(main())
    except KeyboardInterrupt: sys.exit(130)
