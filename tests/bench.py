"""Core operations beside what one would take instead: `python tests/bench.py [--record] [--rounds N] [topics ...]`.

One process, one thread. Of each case first the two answers are compared, and a difference above its tolerance is an
error. Then both run in turn, and a ratio is the peer's processor time over ours: above 1 where ours is faster. A peer
that is not installed is named and left out. Memory is what one call adds to the largest resident set (getrusage) of a
forked process of its own. `--record` writes data/results/bench.json, which the site shows; not a test.
"""
import argparse
import ctypes
import datetime
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / 'data/results/bench.json'
LEAST = .02 # seconds that a round of one side takes at least


@dataclass
class Pair:
    """Two programs of one answer."""
    ours: Callable
    theirs: Callable
    answers: Callable | None = None # -> (of ours, of theirs); default what both return
    both: Callable | None = None # -> (seconds of ours, of theirs, did theirs not end?), where they time themselves


@dataclass
class Case:
    topic: str
    what: str
    peer: str
    make: Callable # -> Pair; ImportError where the peer is absent
    tolerance: float # of the largest difference, in units of the largest value; of `distance`, where it is there
    distance: Callable | None = None # of the two answers
    unit: str = '' # of ours / theirs, where the peer is a measure and no rival


@dataclass
class Growth:
    topic: str
    what: str
    of: str # what grows
    theory: float # exponent of the best algorithm
    sizes: tuple
    make: Callable # size -> program


def arrays(y): # of tensors, arrays, and lists and tuples of them: one row of numbers
    if isinstance(y, dict): y = list(y.values())
    if isinstance(y, float): return np.array([y])
    if isinstance(y, (list, tuple)): return np.concatenate([arrays(v) for v in y])
    return np.asarray(y.detach() if hasattr(y, 'detach') else y, dtype=np.float64).ravel()


def difference(a, b):
    a, b = arrays(a), arrays(b)
    if a.shape != b.shape: raise ValueError(f'answers have {a.size} and {b.size} numbers')
    if not (np.isfinite(a).all() and np.isfinite(b).all()): return float('nan')
    return float(np.abs(a - b).max() / np.abs(b).max())


def seconds(f, times=1):
    gc.disable()
    start = time.process_time()
    for _ in range(times): f()
    spent = (time.process_time() - start) / times
    gc.enable()
    return spent


def memory(f): # MiB that one call adds to the largest resident set of a process, or None
    if not hasattr(os, 'fork') or sys.platform != 'linux': return None
    r, w = os.pipe()
    gc.collect()
    getattr(ctypes.CDLL(None), 'malloc_trim', lambda n: None)(0) # or the child finds room in what was freed
    if (pid := os.fork()) == 0:
        try:
            now = int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1024
            f()
            os.write(w, json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - now) / 1024).encode())
        finally: os._exit(0)
    os.close(w)
    with open(r) as pipe: said = pipe.read()
    os.waitpid(pid, 0)
    return max(0., float(said)) if said else None


def alternated(pair, rounds): # [(seconds of ours, of theirs)], in turn, the first to run changing
    times, out = [max(1, round(LEAST / max(seconds(f), 1e-7))) for f in (pair.ours, pair.theirs)], []
    for i in range(rounds):
        order = [(0, pair.ours), (1, pair.theirs)][::1 if i % 2 else -1]
        out.append([s for _, s in sorted((k, seconds(f, times[k])) for k, f in order)])
    return out


def measured(case, rounds): # -> a row
    """ValueError where the answers differ by more than the tolerance, or are not finite."""
    about = dict(topic=case.topic, what=case.what, peer=case.peer, tolerance=case.tolerance, unit=case.unit)
    try: pair = case.make()
    except ImportError as e: return about | dict(absent=str(e).split('\n')[0])
    off = (case.distance or difference)(*(pair.answers() if pair.answers else (pair.ours(), pair.theirs())))
    if not off <= case.tolerance:
        raise ValueError(f'{case.what}: answers differ from {case.peer} by {off:.2g}; expected {case.tolerance:.2g}')
    if pair.both:
        runs = [pair.both() for _ in range(rounds)]
        at_least = any(late for *_, late in runs)
    else: runs, at_least = alternated(pair, rounds), False
    ratios = [(r[0] / r[1] if case.unit else r[1] / r[0]) for r in runs]
    mid = statistics.median
    return about | dict(
        difference=off, ratio=mid(ratios), least=min(ratios), most=max(ratios), at_least=at_least,
        seconds=[mid(r[i] for r in runs) for i in (0, 1)], memory=[memory(pair.ours), memory(pair.theirs)])


def exponent(sizes, spent): # slope of least squares in logarithms
    return float(np.polyfit(np.log(sizes), np.log(spent), 1)[0])


def grown(g, rounds): # -> a row
    programs = [g.make(n) for n in g.sizes]
    times = [max(1, round(LEAST / max(seconds(f), 1e-7))) for f in programs for _ in [f()]]
    spent = [[seconds(f, t) for f, t in zip(programs, times)] for _ in range(rounds)]
    spent = [statistics.median(s) for s in zip(*spent)]
    local = [exponent(g.sizes[i:i + 2], spent[i:i + 2]) for i in range(len(spent) - 1)]
    return dict(topic=g.topic, what=g.what, of=g.of, theory=g.theory, sizes=list(g.sizes), seconds=spent,
                exponent=exponent(g.sizes, spent), local=local)


def started(name, call, rounds): # -> processor seconds of a fresh process
    out = []
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *call], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        out.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return dict(what=name, seconds=statistics.median(out), least=min(out), most=max(out))


STARTS = {'import torch': ['-c', 'import torch'], 'import deepstruct': ['-c', 'import deepstruct'],
          'import deepstruct; deepstruct.LogConcaveModel': ['-c', 'import deepstruct as d; d.LogConcaveModel'],
          **{f'deepstruct {w}': ['-m', 'deepstruct', w] for w in ('--help', 'list', 'claims')}}


def processor():
    try: said = Path('/proc/cpuinfo').read_text()
    except OSError: said = ''
    names = [s.split(':', 1)[1].strip() for s in said.split('\n') if s.startswith('model name')]
    return names[0] if names else platform.processor() or platform.machine()


def line(row):
    if 'absent' in row: return f'{row["what"]}: {row["peer"]} is not installed, left out ({row["absent"]})'
    mark, size = '> ' if row['at_least'] else '', ['–' if m is None else f'{m:.0f}' for m in row['memory']]
    verdict = row['unit'] or ('slower' if row['most'] < 1 else '') # in every round
    return (f'{row["what"]:66} {row["peer"]:25} {mark}{row["ratio"]:.2f} [{row["least"]:.2f}, '
            f'{row["most"]:.2f}] {verdict:8} answers within {row["difference"]:.0e}; {size[0]} and {size[1]} MiB')


def growth_line(row):
    told = ', '.join(f'{1e3 * s:.3g}' for s in row['seconds'])
    return (f'{row["what"]:40.40} {row["of"]} {", ".join(map(str, row["sizes"]))}: {told} ms, exponent '
            f'{row["exponent"]:.2f}, in theory {row["theory"]:g}')


def run(cases, growths, starts, rounds):
    out = dict(date=datetime.date.today().isoformat(), processor=processor(), rounds=rounds, cases=[], growth=[],
               starts=[])
    print(f'{out["processor"]}, one thread. Ratio: processor time of the peer over ours, median [least, most] of '
          f'{rounds} rounds in turn; above 1: ours is faster.', flush=True)
    for key, items, how, told in (('cases', cases, measured, line), ('growth', growths, grown, growth_line)):
        for item in items:
            out[key].append(how(item, rounds))
            print(told(out[key][-1]), flush=True)
    for name, call in starts.items():
        out['starts'].append(row := started(name, call, min(rounds, 3)))
        print(f'{row["what"]}: {row["seconds"]:.2f} s of a processor, in a fresh process', flush=True)
    return out


def write(out, path=RECORD):
    from deepstruct.places import atomic
    with atomic(path) as new: new.write_text(json.dumps(out, indent=1) + '\n', encoding='utf-8')


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('topics', nargs='*', help='default all')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--record', action='store_true', help=f'write {RECORD.relative_to(ROOT)}')
    given = p.parse_args()
    sys.path.append(str(ROOT / 'build/bench')) # peers that the lock does not have
    import bench_cases as B
    topics = list(dict.fromkeys([x.topic for x in (*B.CASES, *B.GROWTH)])) + ['start-up']
    if lost := [t for t in given.topics if t not in topics]:
        sys.exit(f'no topic is called {lost[0]}; expected some of {", ".join(topics)}')
    if given.record and given.topics: sys.exit('a record is of all topics; expected none beside --record')
    chosen = lambda xs: [x for x in xs if not given.topics or x.topic in given.topics]
    starts = STARTS if not given.topics or 'start-up' in given.topics else {}
    out = run(chosen(B.CASES), chosen(B.GROWTH), starts, given.rounds)
    if given.record: write(out)


if __name__ == '__main__': main()
