"""Pages run at smoke under a profiler: every function of the project that ran in a stage is in the stage's key, and all
that ran up to a figure or claim are in that row's. Kernels of numba are not seen: what runs in them is compiled.
"""
import ast
import importlib
import linecache
import os
import re
import sys
import threading
from pathlib import Path

import pytest
from deepstruct import core
from deepstruct.book import keys as K

ROOT = Path(__file__).resolve().parents[1]
NAMES = 'paper_free_energy', 'paper_rainbow_gaussianity', 'paper_neural_collapse'
PACKAGE = str(ROOT / 'deepstruct') + os.sep


def places(path):
    """[(first line, last line, name)] of the statements of a module."""
    out = []
    for s in ast.parse(path.read_text()).body:
        names = [s.name] if hasattr(s, 'name') else sorted(n.id for n in ast.walk(s) if isinstance(n, ast.Name)
                                                           and isinstance(n.ctx, ast.Store))
        out.append((min([s.lineno, *(d.lineno for d in getattr(s, 'decorator_list', []))]), s.end_lineno, names[0]
                    if names else '*'))
    return out


class Trace:
    """What ran: in all, and in each stage by its key."""
    def __init__(self): self.all, self.of, self.lines, self.seen = set(), {}, {}, {}

    def label(self, code):
        if code not in self.seen:
            file = code.co_filename
            self.seen[code] = None
            if file.startswith(PACKAGE) and not file.startswith(PACKAGE + 'book') and code.co_name != '<module>':
                if file not in self.lines: self.lines[file] = places(Path(file))
                name = next(n for a, b, n in self.lines[file] if a <= code.co_firstlineno <= b)
                module = '.'.join(('deepstruct', *Path(file).relative_to(PACKAGE).with_suffix('').parts))
                if not K._neutral(module, (name,)) and (module,
                                                        name) not in MACHINERY: self.seen[code] = f'{module}:{name}'
        return self.seen[code]

    def __call__(self, frame, event, arg):
        if event != 'call' or not (at := self.label(frame.f_code)): return
        self.all.add(at)
        for key in getattr(core._LOCAL, 'keys', ()): self.of.setdefault(key, set()).add(at)


# what `cached` itself does before, in and after a stage
MACHINERY = {('deepstruct.core', k) for k in ('_stage', '_kept', '_keep', '_storable', '_files', '_is_code', '_state',
                                              '_sha256', '_symbol', '_place', '_stamp', '_checksum', '_at_home')} | {
    ('deepstruct.places', k) for k in ('data_dir', '_is_root')}


@pytest.mark.parametrize('name', NAMES)
def test_nothing_runs_that_is_not_in_the_key(name, tmp_path, monkeypatch):
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('DEEPSTRUCT_OUT', str(tmp_path / 'out'))
    monkeypatch.setenv('MPLBACKEND', 'agg')
    for p in ROOT.glob('deepstruct/**/[a-z]*.py'): # what runs when a module is imported is no part of this
        if 'book' not in p.parts: importlib.import_module('.'.join(p.relative_to(ROOT).with_suffix('').parts))
    page, trace, nodes, rows = next(ROOT.glob(f'nbs/*/{name}.ipynb')), Trace(), {}, {}

    class Told(K.Digest):
        def hexdigest(self):
            key = super().hexdigest()
            nodes[key] = set(K.reached(K.reach(), self.targets)[0])
            return key
    monkeypatch.setattr(K, 'Digest', Told)
    space, above, imports = {'__name__': '__main__'}, set(), {}
    for i, source in K.code_cells(page).items():
        source = source.replace("preset = 'laptop'", "preset = 'smoke'")
        file = f'<{name} {i}>'
        linecache.cache[file] = len(source), None, source.splitlines(True), file
        sys.setprofile(trace), threading.setprofile(trace)
        try: exec(compile(source, file, 'exec'), space)
        finally: sys.setprofile(None), threading.setprofile(None)
        reads = K.Reads(ast.parse(source))
        above, imports = above | reads.chains, K._merged(imports, reads.imports)
        for id in re.findall(r"\b(?:claim|figure)\(\s*'([^']+)'", source):
            code = K.reach(ROOT / 'deepstruct')
            rows[id] = set(K.reached(code, {t for c in above for t in code.leads('', c, imports, set())})[0])
            assert not missing(trace.all, rows[id]), id
    stages = {k: v for k, v in trace.of.items() if k in nodes}
    assert rows and len(trace.all) > 10 and stages
    for key, ran in stages.items(): assert not missing(ran, nodes[key])


def missing(ran, nodes): return sorted(n for n in ran if n not in nodes and f'{n.split(":")[0]}:*' not in nodes)
