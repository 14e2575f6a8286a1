"""In a copy of the package one function is edited, and of every row of every page it is asked whether its key changes: exactly where a plain
reading of the code says so. That reading (`Oracle`) shares nothing with the engine: scopes are Python's own `symtable`, code without
annotations is written out by `ast.unparse`, and what a statement leads to is looked up by name.
"""
import ast
import builtins
import json
import re
import shutil
import symtable
import sys
from pathlib import Path

import pytest
from deepstruct.book import keys as K

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(p for p in (ROOT / 'nbs').rglob('paper_*.ipynb') if '.ipynb_checkpoints' not in p.parts)
MACHINERY = re.compile(r'deepstruct\.book\b|deepstruct\.core:(cached|progress|reads|spent|stage_key|choose|_heard)$'
                       r'|deepstruct\.places:(find_root|ROOT|package_data|cache_dir|out_dir|atomic|warn_once)$')


class Bare(ast.NodeTransformer):
    """Code without annotations and docstrings."""
    def visit_FunctionDef(self, n):
        self.generic_visit(n)
        n.returns = None
        for a in ast.walk(n.args):
            if isinstance(a, ast.arg): a.annotation = None
        return self.without(n)
    visit_AsyncFunctionDef = visit_FunctionDef
    def visit_ClassDef(self, n): return self.without(self.generic_visit(n))
    def visit_AnnAssign(self, n):
        self.generic_visit(n)
        return ast.Assign([n.target], n.value, lineno=n.lineno) if n.value else ast.Pass()
    def without(self, n):
        if isinstance(n.body[0], ast.Expr) and isinstance(n.body[0].value, ast.Constant): n.body[0] = ast.Pass()
        return n


class NoImports(ast.NodeTransformer):
    def visit_Import(self, n): return ast.Pass()
    visit_ImportFrom = visit_Import


def globals_of(text):
    """Names that the text reads from its module."""
    out, todo = set(), [symtable.symtable(text, 'text', 'exec')]
    while todo:
        table = todo.pop()
        todo += table.get_children()
        for s in table.get_symbols():
            if s.is_referenced() and (table.get_type() == 'module' or s.is_global() or s.is_declared_global()): out.add(s.get_name())
            if s.is_declared_global(): out.add(s.get_name())
    return out - set(dir(builtins)) | {n for n in out if n in ('eval', 'exec')}


class Oracle:
    """Statements of a package and what each names."""
    def __init__(self, folder):
        self.statements, self.names, self.imports, self.effects, self.edges = {}, {}, {}, {}, {}
        for path in sorted(folder.rglob('*.py')):
            module = '.'.join(('deepstruct', *path.relative_to(folder).with_suffix('').parts)).removesuffix('.__init__')
            self.read(module, path.read_text(), path.name == '__init__.py')

    def imported(self, module, n, package):
        home = module.split('.') + ['x'] * package
        if isinstance(n, ast.Import): return {a.asname or a.name.split('.')[0]: a.name if a.asname else a.name.split('.')[0] for a in n.names}
        base = '.'.join([*(home[:-n.level] if n.level else []), *([n.module] if n.module else [])])
        return {a.asname or a.name: f'{base}.{a.name}' for a in n.names}

    def read(self, module, text, package=False):
        names, imports, effects = {}, {}, set()
        for i, s in enumerate(ast.parse(text).body):
            for n in ast.walk(s):
                if isinstance(n, (ast.Import, ast.ImportFrom)): imports |= self.imported(module, n, package)
            if isinstance(s, (ast.Import, ast.ImportFrom)) or isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant): continue
            at = f'{module}:{i}'
            self.statements[at] = ast.unparse(ast.fix_missing_locations(Bare().visit(ast.parse(ast.unparse(s)))))
            if isinstance(s, (ast.FunctionDef, ast.ClassDef)): bound = {s.name}
            else: # what it binds, and the roots of what it changes
                bound = {n.id for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
                for n in ast.walk(s):
                    if isinstance(n, (ast.Attribute, ast.Subscript)) and isinstance(n.ctx, ast.Store) or isinstance(n, ast.Expr):
                        root = re.match(r'\w+(?=[.\[])', ast.unparse(n))
                        if root and root[0] not in imports: bound.add(root[0])
            for b in bound: names.setdefault(b, set()).add(at)
            if not bound: effects.add(at)
        self.names[module], self.imports[module], self.effects[module] = names, imports, effects

    def found(self, dotted):
        """Statements behind a.b.c, and behind what these modules do when they are imported."""
        parts = dotted.split('.')
        for k in range(len(parts), 0, -1):
            module = '.'.join(parts[:k])
            if module not in self.names: continue
            if k == len(parts): return {s for v in self.names[module].values() for s in v} | self.effects[module]
            if parts[k] in self.names[module]: return self.names[module][parts[k]] | self.effects[module]
            if parts[k] in self.imports[module]: return self.found('.'.join([self.imports[module][parts[k]], *parts[k + 1:]]))
            return {s for v in self.names[module].values() for s in v}
        return set()

    def leads(self, module, text):
        out, imports = set(), dict(self.imports.get(module, {}))
        for n in ast.walk(ast.parse(text)):
            if isinstance(n, (ast.Import, ast.ImportFrom)): imports |= self.imported(module or 'page', n, False)
        bare = ast.unparse(NoImports().visit(ast.parse(text)))
        inside = {n for n in imports if re.search(rf'(?<![\w.\'"]){n}\b(?!\s*=[^=])', bare)} - set(self.imports.get(module, {}))
        for name in globals_of(bare) | inside:
            if name in self.names.get(module, {}): out |= self.names[module][name]
            if name in imports:
                for m in re.finditer(rf'(?<![\w.\'"]){name}((?:\.\w+)*)', bare): out |= self.found(imports[name] + m[1])
        return out

    def reached(self, text, module=''):
        todo, seen = self.leads(module, text), set()
        while todo:
            at = todo.pop()
            if at in seen or MACHINERY.match(self.label(at)): continue
            seen.add(at)
            module = at.split(':')[0]
            if at not in self.edges: self.edges[at] = self.leads(module, self.statements[at]) | self.effects[module]
            todo |= self.edges[at]
        return seen

    def label(self, at):
        module = at.split(':')[0]
        return f'{module}:{next((n for n, s in self.names[module].items() if at in s), "")}'


def rows(path):
    """{id: all code up to the cell of the figure or claim}."""
    out, text = {}, ''
    for c in json.loads(path.read_text())['cells']:
        if c['cell_type'] != 'code': continue
        source = re.sub(r'^[%!].*$', '', ''.join(c['source']), flags=re.M)
        text += source + '\n'
        for m in re.finditer(r"\b(?:claim|figure)\(\s*'([^']+)'", source): out[m[1]] = text
    return out


TEXTS = {p: rows(p) for p in PAGES}


@pytest.fixture(scope='module')
def oracle(): return Oracle(ROOT / 'deepstruct')


def theirs(code, text, defs):
    """Definitions that the engine reaches."""
    reads = K.Reads(ast.parse(text))
    nodes = set(K.reached(code, {t for c in reads.chains for t in code.leads('', c, reads.imports, set())})[0])
    return {d for d in defs if d in nodes or d.split(':')[0] + ':*' in nodes}


def test_same(oracle):
    defs = {f'{m}:{s.name}' for m in oracle.names for s in ast.parse(K.reach(ROOT / 'deepstruct').texts[next(p for p in (
        (ROOT / m.replace('.', '/')).with_suffix('.py'), ROOT / m.replace('.', '/') / '__init__.py') if p.exists())]).body if hasattr(s, 'name')}
    defs = {d for d in defs if not MACHINERY.match(d)}
    code = K.reach(ROOT / 'deepstruct')
    for p in PAGES:
        for id, text in TEXTS[p].items():
            a, b = {oracle.label(s) for s in oracle.reached(text)} & defs, theirs(code, text, defs)
            print(id, len(a), len(b), 'missed', sorted(a - b)[:9], 'more', sorted(b - a)[:9])
