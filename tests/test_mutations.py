"""Deliberate faults: each fits its module in one place, names tests that exist, and no module of the science is spared.
What turns red is tried by `make mutations`."""
import ast
import re
from functools import cache

import pytest
from mutate import PACKAGE, ROOT, TESTS, load

MUTATIONS = load()
SCIENCE = 'foundations', 'log_concavity', 'phase_collapse', 'rainbow', 'wavelet_diffusion'
REACH = ('data-training-patches-overlap-test', 'training-averages-never-installed', 'wsgm-sign-of-the-v-target',
         'wsgm-sign-of-the-score', 'statistics-floor-of-the-fisher-ratio', 'direct-MALA-without-correction',
         'langevin-every-proposal-taken', 'free-energy-sign-of-F') # those that once stayed green


@cache
def parsed(path): return ast.parse(path.read_text(encoding='utf-8'))


@cache
def functions(file): # names of the tests in it
    return {n.name for n in parsed(TESTS / file).body if isinstance(n, ast.FunctionDef) and n.name.startswith('test_')}


@pytest.mark.parametrize('m', MUTATIONS, ids=lambda m: m.id)
def test_a_mutation(m):
    source = (PACKAGE / m.path).read_text(encoding='utf-8')
    there, scope = source.index(m.old), parsed(PACKAGE / m.path)
    m.applied(source) # or an error says what is wrong
    assert m.new != m.old and m.tests and re.fullmatch(r'[A-Z].*[^.]\.', m.fault), m.fault
    for n in m.function.split('.'): scope = next(d for d in ast.walk(scope) if getattr(d, 'name', None) == n)
    assert scope.lineno <= source[:there].count('\n') + 1 <= scope.end_lineno, m.function
    for t in m.tests:
        file, test = t.split('::')
        assert test in functions(file), t


def test_every_module_of_the_science_is_mutated():
    books = [p for part in SCIENCE for p in (ROOT / 'nbs' / part).glob('*.ipynb')]
    told = [re.search(r'#\| default_exp ([\w.]+)', p.read_text(encoding='utf-8')) for p in books]
    modules = {t[1] for t in told if t}
    assert len(modules) > 60 and modules <= {m.module for m in MUTATIONS}
    assert set(REACH) <= {m.id for m in MUTATIONS} and len(MUTATIONS) >= 30


def test_what_fits_nowhere_is_said():
    m = MUTATIONS[0]
    for source, n in (('', 0), (2 * f'{m.old}\n', 2)):
        with pytest.raises(ValueError, match=f'stands {n} times'): m.applied(source)
