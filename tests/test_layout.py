"""The house: which module may import which, one home for each public name, functions that fit on a screen."""
import ast
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTERS = {'log_concavity', 'wavelet_diffusion', 'phase_collapse', 'rainbow'}
ABOVE = {'facade', 'examine'} # doors to all chapters, which none of them may use
MODULES = {'.'.join(p.relative_to(ROOT).with_suffix('').parts): p for p in sorted((ROOT / 'deepstruct').rglob('*.py'))
           if p.name not in ('_modidx.py', '__init__.py', '__main__.py')}
TREES = {m: ast.parse(p.read_text(encoding='utf-8')) for m, p in MODULES.items()}
room = lambda m: (m.split('.') + [''])[1] # of a module: its package, or itself
SCIENCE = [m for m in MODULES if room(m) != 'book' and m != 'deepstruct.cli']


def imports(module):
    """Modules of the package that it imports, anywhere in its code."""
    package = module.split('.')[:-1]
    for n in ast.walk(TREES[module]):
        if isinstance(n, ast.Import): yield from (a.name for a in n.names if a.name.split('.')[0] == 'deepstruct')
        if isinstance(n, ast.ImportFrom):
            base = '.'.join([*package[:len(package) - n.level + 1], *filter(None, [n.module])]) if n.level else n.module
            if base.split('.')[0] == 'deepstruct':
                yield from (f'{base}.{a.name}' if f'{base}.{a.name}' in MODULES else base for a in n.names)


@pytest.mark.parametrize('module', MODULES)
def test_arrows_point_down(module):
    """Foundations know no chapter, chapters no other chapter, science no book: `core` asks it for keys, once."""
    mine, allowed = room(module), {m for m in MODULES if len(m.split('.')) == 2 and room(m) not in ABOVE | {'cli'}}
    if mine in CHAPTERS: allowed |= {m for m in MODULES if room(m) == mine}
    if module == 'deepstruct.core': allowed |= {'deepstruct.book.keys'}
    if mine in ABOVE | {'cli', 'book'}: allowed = set(MODULES) | {'deepstruct', 'deepstruct.book', 'deepstruct._modidx'}
    assert not [i for i in imports(module) if i not in allowed], module


def test_no_circle():
    """What is read first needs nothing of what comes later."""
    needs = {m: {i for i in imports(m) if i in MODULES} for m in SCIENCE}
    needs['deepstruct.core'] = set() # but for the keys, which it asks for when a stage runs
    done = set()
    book = {m for m in MODULES if room(m) == 'book'}
    while ready := [m for m in needs if m not in done and needs[m] - {m} <= done | book]:
        done |= {*ready}
    assert not set(needs) - done


def public(module):
    """Names that it defines for others."""
    return {n.name for n in TREES[module].body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != '_'}


def test_a_public_name_stands_once():
    """The facade's doors and the book apart."""
    homes = defaultdict(list)
    for m in SCIENCE:
        if room(m) not in ABOVE: [homes[n].append(m) for n in public(m)]
    assert not {n: ms for n, ms in homes.items() if len(ms) > 1}


def words(source):
    """Names and attributes that code reads."""
    tree = ast.parse(re.sub(r'^\s*[%!].*$', '', source, flags=re.M))
    return {getattr(n, 'id', getattr(n, 'attr', getattr(n, 'name', None))) for n in ast.walk(tree)
            if isinstance(n, (ast.Name, ast.Attribute)) and isinstance(n.ctx, ast.Load) or isinstance(n, ast.alias)}


# Ways back of what is used, closed forms that check simulations, and what places wait for that nobody has tried yet.
AWAITED = {f'deepstruct.{n}' for n in """fields.virial lensing.box_error lensing.density_power statistics.linear_probe
    wavelets.inverse_pyramid wavelets.inverse_packets wavelets.speed_ratio rainbow.alignment.aligned_to_mean
    rainbow.covariance.effective_rank rainbow.covariance.gaussianity rainbow.dynamics.stretched
    wavelet_diffusion.gaussian.first_order wavelet_diffusion.synthesis.start_like
    wavelet_diffusion.generalization.empirical_denoiser classifiers.weights_on_the_way networks.cheapest
    phase_collapse.scattering.ScatteringTransformer""".split()}


def test_every_public_name_has_a_user():
    """A page, the facade or another module; what only a lesson needs stays in the lesson."""
    cells = [''.join(c['source']) for p in (ROOT / 'nbs').rglob('*.ipynb')
             if p.name.startswith('paper_') or p.parent == ROOT / 'nbs' or p.stem == '00_tour'
             for c in json.loads(p.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']
    pages = set().union(*map(words, cells))
    used = {m: words(p.read_text(encoding='utf-8')) for m, p in MODULES.items()}
    opened = set(re.findall(r'\w+', (ROOT / 'deepstruct/__init__.py').read_text(encoding='utf-8')))
    own = {m: {w for n in TREES[m].body for w in words(ast.unparse(n))
               if not (hasattr(n, 'name') and n.name == w)} for m in MODULES}
    idle = {f'{m}.{n}' for m in SCIENCE for n in public(m)
            if n not in pages | opened | own[m] and not any(n in ws for x, ws in used.items() if x != m)}
    assert idle <= AWAITED


@pytest.mark.parametrize('module', MODULES)
def test_functions_fit_on_a_screen(module):
    """40 lines at most, the signature aside."""
    long = {n.name: n.end_lineno - n.body[0].lineno + 1 for n in ast.walk(TREES[module])
            if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.end_lineno - n.body[0].lineno >= 40}
    assert not long
