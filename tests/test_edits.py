"""In a copy of the package one function is edited, and of every row of every page it is asked whether its key changes:
exactly where a plain reading of the code says so. That reading (`Oracle`) shares nothing with the engine: scopes are
Python's own `symtable`, code without annotations is written out by `ast.unparse`, names are looked up.
"""
import ast
import builtins
import functools
import json
import re
import shutil
import symtable
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


def whole_names(tree):
    """a.b.c and d, not what stands inside them."""
    text = ast.unparse(tree) if isinstance(tree, (ast.Attribute, ast.Name)) else ''
    if re.fullmatch(r'\w+(\.\w+)*', text): return {text}
    return {n for child in ast.iter_child_nodes(tree) for n in whole_names(child)}


def globals_of(text):
    """Names that the text reads from its module."""
    out, todo = set(), [symtable.symtable(text, 'text', 'exec')]
    while todo:
        table = todo.pop()
        todo += table.get_children()
        for s in table.get_symbols():
            if s.is_referenced() and (table.get_type() == 'module' or s.is_global()
                                      or s.is_declared_global()): out.add(s.get_name())
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
        if isinstance(n, ast.Import): return {a.asname or a.name.split('.')[0]: a.name if a.asname
                                              else a.name.split('.')[0] for a in n.names}
        base = '.'.join([*(home[:-n.level] if n.level else []), *([n.module] if n.module else [])])
        return {a.asname or a.name: f'{base}.{a.name}' for a in n.names}

    def read(self, module, text, package=False):
        names, imports, effects = {}, {}, set()
        for i, s in enumerate(ast.parse(text).body):
            for n in ast.walk(s):
                if isinstance(n, (ast.Import, ast.ImportFrom)): imports |= self.imported(module, n, package)
            if isinstance(s, (ast.Import, ast.ImportFrom)) or isinstance(s, ast.Expr) and isinstance(s.value,
                ast.Constant): continue
            at = f'{module}:{i}'
            self.statements[at] = ast.unparse(ast.fix_missing_locations(Bare().visit(ast.parse(ast.unparse(s)))))
            if isinstance(s, (ast.FunctionDef, ast.ClassDef)): bound = {s.name}
            else: # what it binds, and the roots of what it changes
                bound = {n.id for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
                for n in ast.walk(s):
                    if isinstance(n, (ast.Attribute, ast.Subscript)) and isinstance(n.ctx, ast.Store) or isinstance(n,
                        ast.Expr):
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
            if parts[k] in self.imports[module]: return self.found('.'.join([self.imports[module][parts[k]],
                *parts[k + 1:]]))
            return {s for v in self.names[module].values() for s in v}
        return set()

    def leads(self, module, text, before=None):
        """Statements that a text names; `before`: imports of the cells above it."""
        tree, imports = ast.parse(text), dict(self.imports.get(module, {}) if before is None else before)
        for n in ast.walk(tree):
            if isinstance(n, (ast.Import, ast.ImportFrom)): imports |= self.imported(module or 'page', n, False)
        if before is not None: before |= imports
        bare, out = NoImports().visit(tree), set()
        local = set(imports) - set(self.imports.get(module, before or {})) # bound by an import inside a function
        read = globals_of(ast.unparse(bare)) | local
        for name in read: out |= self.names.get(module, {}).get(name, set())
        for dotted in whole_names(bare):
            root, _, rest = dotted.partition('.')
            if root in read and root in imports: out |= self.found(f'{imports[root]}.{rest}'.strip('.'))
        return out

    def reached(self, todo, seen):
        """Adds to `seen` all that these statements lead to."""
        while todo:
            at = todo.pop()
            if at in seen or MACHINERY.match(self.label(at)): continue
            seen.add(at)
            module = at.split(':')[0]
            if at not in self.edges: self.edges[at] = self.leads(module, self.statements[at]) | self.effects[module]
            todo |= self.edges[at]
        return seen

    def page(self, path):
        """{id: definitions that the code up to its cell reaches}."""
        out, imports, seen = {}, {}, set()
        for source in cells(path):
            self.reached(self.leads('', source, imports), seen)
            for m in re.finditer(r"\b(?:claim|figure)\(\s*['\"]([^'\"]+)['\"]", source): out[m[1]] = {self.label(s)
                for s in seen} & self.defs
        return out

    @property
    def defs(self):
        return {self.label(s) for s, text in self.statements.items() if re.match(r'(@.*\n)*(async def|def|class)\b',
            text) and not MACHINERY.match(self.label(s))}

    def label(self, at):
        module = at.split(':')[0]
        return f'{module}:{next((n for n, s in self.names[module].items() if at in s), "")}'


def cells(path):
    """Code of a page, without magics."""
    return [re.sub(r'^[%!].*$', '', ''.join(c['source']), flags=re.M) for c in json.loads(path.read_text())['cells']
            if c['cell_type'] == 'code']


@pytest.fixture(scope='module')
def oracle(): return Oracle(ROOT / 'deepstruct')


@pytest.fixture(scope='module')
def reading(oracle): return {p: oracle.page(p) for p in PAGES}


def reach_of(path, code):
    """The same by the engine."""
    out, chains, imports = {}, set(), {}
    for source in cells(path):
        reads = K.Reads(ast.parse(source))
        chains, imports = chains | reads.chains, K._merged(imports, reads.imports)
        nodes = None
        for m in re.finditer(r"\b(?:claim|figure)\(\s*['\"]([^'\"]+)['\"]", source):
            nodes = nodes or set(K.reached(code, {t for c in chains for t in code.leads('', c, imports, set())})[0])
            out[m[1]] = nodes
    return out


@pytest.mark.parametrize('path', PAGES, ids=lambda p: p.stem)
def test_what_a_row_reaches(path, oracle, reading):
    """Every function and class, of every row, both ways."""
    code, defs = K.reach(ROOT / 'deepstruct'), oracle.defs
    for id, nodes in reach_of(path, code).items():
        mine = {d for d in defs if d in nodes or f'{d.split(":")[0]}:*' in nodes}
        more = {d for d in mine - reading[path][id] if d not in at_import(d.split(':')[0])}
        assert (sorted(reading[path][id] - mine), sorted(more)) == ([], []), id


@functools.cache
def at_import(module):
    """What loops of a module call while it is imported: whoever reaches the module reaches these."""
    path = ROOT.joinpath(*module.split('.')).with_suffix('.py')
    body = ast.parse(path.read_text()).body if path.is_file() else []
    return {f'{module}:{c.func.id}' for s in body if isinstance(s, ast.For) for c in ast.walk(s)
            if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}


# --- edits
STAGES = sorted((m, s.name) for m, s in ((p, s) for p in (ROOT / 'deepstruct').rglob('*.py') for s
                                         in ast.parse(p.read_text()).body)
                if isinstance(s, ast.FunctionDef) and any(ast.unparse(d) == 'cached' for d in s.decorator_list))
STAGES = [('.'.join(('deepstruct', *p.relative_to(ROOT / 'deepstruct').with_suffix('').parts)), name) for p,
          name in STAGES]


@pytest.fixture
def copy(tmp_path):
    """The package, to be edited."""
    return Path(shutil.copytree(ROOT / 'deepstruct', tmp_path / 'deepstruct',
                                ignore=shutil.ignore_patterns('__pycache__', '*.nb?')))


def keys_of(folder, pages=PAGES):
    """{row or stage: key}, of a package whose files may have changed since."""
    code = K.Reach(folder)
    K.reach.cache_clear()
    out = {(p.stem, id): key for p in pages for id, key in K.page_keys(p, folder=folder).items() if id}
    K.reach.cache_clear()
    return out | {(m, name): K.summed(*K.reached(code, {(m, (name,))})) for m, name in STAGES}


@pytest.fixture(scope='module')
def before(): return keys_of(ROOT / 'deepstruct')


def changed(folder, before):
    after = keys_of(folder)
    assert set(after) == set(before)
    return {k for k in before if before[k] != after[k]}


def edited(path, name):
    """One statement more in a function, or in a method of a class; ast.unparse writes the file, in another layout."""
    tree = ast.parse(path.read_text())
    s = next(s for s in tree.body if getattr(s, 'name', '') == name)
    f = s if isinstance(s, ast.FunctionDef) else next((m for m in s.body if isinstance(m, ast.FunctionDef)), s)
    f.body.append(ast.parse('edited = 1').body[0]) if f is s and isinstance(s,
        ast.ClassDef) else f.body.insert(len(f.body) - 1, ast.parse('edited = 1').body[0])
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))


MODULES = ('core data wavelets fields lensing statistics networks training log_concavity.energies '
           'log_concavity.langevin log_concavity.your_fields wavelet_diffusion.gaussian wavelet_diffusion.wsgm '
           'phase_collapse.frames phase_collapse.classification rainbow.alignment rainbow.model').split()
NAMED = {'training': 'fit', 'core': 'generator', 'data': 'photo_patches'}


@pytest.mark.parametrize('module', MODULES)
def test_an_edit_of_one_function(module, copy, oracle, reading, before):
    """The named function, or the one in the middle of the module."""
    full, path = f'deepstruct.{module}', (copy / module.replace('.', '/')).with_suffix('.py')
    names = [d.split(':')[1] for d in sorted(oracle.defs) if d.startswith(f'{full}:')]
    name = NAMED.get(module, names[len(names) // 2])
    edited(path, name)
    expected = {(p.stem, id) for p, ids in reading.items() for id, found in ids.items() if f'{full}:{name}' in found}
    for m, s in STAGES:
        if f'{full}:{name}' in {oracle.label(x) for x in oracle.reached(set(oracle.names[m][s]),
            set())}: expected.add((m, s))
    assert changed(copy, before) == expected


def test_all_that_train(copy, before, reading, oracle):
    """An edit of `training.fit`: every stage and page that trains, read off their texts."""
    edited(copy / 'training.py', 'fit')
    stale = changed(copy, before)
    trains = {p for p in PAGES
              if re.search(r'training\.fit\(|\btrained(_all)?\(|all_trained\(|\bfit_(?:phi4|gaussian)\b',
                           '\n'.join(cells(p)))}
    pages = {k[0] for k in stale}
    stages = {(m, s) for m, s in STAGES if 'deepstruct.training:fit' in
              {oracle.label(x) for x in oracle.reached(set(oracle.names[m][s]), set())}}
    assert {p.stem for p in trains} <= pages and stages <= stale and len(stages) >= 3 and len(pages) >= 9


def test_docstrings_comments_annotations_layout(copy, before):
    """Of the whole package, in all modules at once."""
    for path in copy.rglob('*.py'):
        tree = ast.parse(path.read_text())
        for n in ast.walk(tree):
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)):
                if isinstance(n.body[0], ast.Expr) and isinstance(n.body[0].value,
                    ast.Constant): n.body[0].value.value = 'says something else'
                else: n.body.insert(0, ast.parse('"says"').body[0])
            acting = isinstance(n, ast.FunctionDef) and any('jit' in ast.unparse(d) for d in n.decorator_list)
            if isinstance(n, ast.FunctionDef) and not acting: n.returns = ast.Name('anything', ast.Load())
        path.write_text('# a remark\n' + ast.unparse(ast.fix_missing_locations(tree)).replace('\n', ' # another\n')
                        if "'''" not in ast.unparse(tree) and '"""' not in ast.unparse(tree)
                        else '# a remark\n' + ast.unparse(ast.fix_missing_locations(tree)))
    assert changed(copy, before) == set()


def reads_texts(text):
    """Does this code keep the text of a caught error, other than in another error?"""
    for h in ast.walk(ast.parse(text)):
        if isinstance(h, ast.ExceptHandler) and h.name:
            raised = {id(n) for r in ast.walk(h) if isinstance(r, ast.Raise) for n in ast.walk(r)}
            if any(isinstance(n, ast.Name) and n.id == h.name and id(n) not in raised for n
                   in ast.walk(h)) and 'SamplingError' not in ast.unparse(h.type): return True
    return False


def test_every_message_of_a_module_reworded(copy, before, oracle, reading):
    """Only rows whose code keeps such a text in a value."""
    path = copy / 'wavelets.py'
    tree = ast.parse(path.read_text())
    raises = [n for n in ast.walk(tree) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    for n in (n for r in raises for a in r.exc.args for n in ast.walk(a)): # the words; not the numbers that are said
        if isinstance(n, ast.Constant) and isinstance(n.value, str): n.value = f'in other words: {n.value}'
    path.write_text(ast.unparse(ast.fix_missing_locations(tree)))
    assert len(raises) > 5
    keep = {oracle.label(s) for s, text in oracle.statements.items() if reads_texts(text)}
    may = {(p.stem, id) for p, ids in reading.items() for id, found in ids.items() if found & keep
           or reads_texts('\n'.join(cells(p)))}
    after = {row for row in changed(copy, before) if row[0].startswith('paper_')} # stages of modules are no rows
    assert after <= may and len(after) < len(before) / 2


def test_a_page(tmp_path, before):
    """Prose and a cell at the end change nothing; an earlier cell changes the rows from there on, and no other page."""
    page = next(p for p in PAGES if len(K.page_keys(p)) > 8)
    nb = json.loads(page.read_text())
    keys = lambda: {k: v for k, v in K.page_keys(write(tmp_path / page.name, nb), folder=ROOT / 'deepstruct').items()
                    if k}
    old = keys()
    assert old == {k[1]: v for k, v in before.items() if k[0] == page.stem}
    for c in nb['cells']:
        if c['cell_type'] == 'markdown': c['source'] = ['# Other words']
    nb['cells'] += [dict(cell_type='code', metadata={}, source=['x = 1\n', 'print(x)'], outputs=[],
                         execution_count=None)]
    assert keys() == old
    code = [c for c in nb['cells'] if c['cell_type'] == 'code']
    ids = lambda c: re.findall(r"\b(?:claim|figure)\(\s*'([^']+)'", ''.join(c['source']))
    at = next(i for i, c in enumerate(code) if i > len(code) // 2 and ids(c))
    code[at]['source'] = [*code[at]['source'], '\nx = 2']
    above = {i for c in code[:at] for i in ids(c)}
    assert {k for k, v in keys().items() if v != old[k]} == set(old) - above and above


def write(path, nb):
    path.write_text(json.dumps(nb))
    return path


def test_kernels_that_numba_keeps_call_none_of_another_file():
    """numba's own files on disk know the file of a kernel, and not those of the kernels that it calls."""
    jitted = lambda s: isinstance(s, ast.FunctionDef) and any('njit' in ast.unparse(d) for d in s.decorator_list)
    trees = {p: ast.parse(p.read_text()) for p in (ROOT / 'deepstruct').rglob('*.py')}
    kernels = {s.name for t in trees.values() for s in t.body if jitted(s)}
    for path, tree in trees.items():
        here = {s.name for s in tree.body if jitted(s)}
        for s in (s for s in tree.body if jitted(s) and any('cache=True' in ast.unparse(d) for d in s.decorator_list)):
            called = {n.func.id for n in ast.walk(s) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
            assert called & kernels <= here, (path.name, s.name)
    assert len(kernels) > 10
