"""Carrying recorded results over a change: what agrees bit for bit is stamped, what does not is named."""
import json
import subprocess

import numpy as np
import pytest
import toy as T

from deepstruct.book import carry as C
from deepstruct.book import ledger as L
from deepstruct.book import runner as R


def git(home, *words):
    who = '-c', 'user.name=t', '-c', 'user.email=t@example.org'
    got = subprocess.run(['git', *who, *words], cwd=home, capture_output=True, text=True)
    assert not got.returncode, got.stderr
    return got.stdout.strip()


def edit(home, old, new, message):
    """Changes the code of the page's cells, and commits."""
    assert any(old in s for _, s in T.CELLS)
    T.write(home / T.PAGE, [(t, s.replace(old, new)) for t, s in T.CELLS])
    git(home, 'commit', '-qam', message)


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """A checkout with a laptop run on record, as one commit; copied for each test."""
    home = T.project(tmp_path_factory.mktemp('carry') / 'checkout')
    with pytest.MonkeyPatch.context() as m:
        for k, v in dict(DEEPSTRUCT_ROOT=home, DEEPSTRUCT_CACHE=home / '.cache').items(): m.setenv(k, str(v))
        m.delenv('DEEPSTRUCT_OUT', raising=False)
        R.run([], 'laptop', record_it=True)
    (home / '.gitignore').write_text('.cache\nout\nlog\n')
    for words in (['init', '-q'], ['add', '-A'], ['commit', '-qm', 'recorded']): git(home, *words)
    return home


@pytest.fixture
def home(recorded, tmp_path, monkeypatch):
    git(recorded, 'clone', '-q', '.', str(tmp_path / 'checkout'))
    monkeypatch.setenv('DEEPSTRUCT_ROOT', str(tmp_path / 'checkout'))
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / '.cache'))
    monkeypatch.delenv('DEEPSTRUCT_OUT', raising=False)
    return tmp_path / 'checkout'


def stale(): return {r['id']: r['stale'] for r in L.ledger('laptop') + L.figures('laptop')}


def test_what_changes_no_number_is_carried(home):
    assert not any(stale().values())
    was, rev = L.records('claims', 'laptop')['toy.mean'], git(home, 'rev-parse', '--short', 'HEAD')
    edit(home, 'float(np.mean(y))', 'float(np.mean(np.asarray(y)))', 'an array first')
    assert all(stale().values())
    said = []
    assert C.carry(rev, say=lambda *w, **_: said.append(' '.join(w))) == 0
    assert '2 of 2 recorded row(s) carried' in said[-1] and not any(stale().values())
    now = L.records('claims', 'laptop')['toy.mean']
    same = {k for k in was if k not in ('key', 'carried')}
    assert {k: was[k] for k in same} == {k: now[k] for k in same} and now['key'] != was['key']
    assert now['carried']['from'] == rev and now['carried']['was'] == was['key'] and now['carried']['compared'] >= 3
    assert len(git(home, 'worktree', 'list').splitlines()) == 1
    git(home, 'commit', '-qam', 'carried')
    assert C.carry(rev, say=lambda *w, **_: said.append(' '.join(w))) == 0 and 'nothing that was fresh' in said[-1]


def test_what_changes_a_number_is_named_and_not_stamped(home):
    edit(home, 'normal(size=n)', 'normal(size=n) * 1.0000001', 'a change that no eye sees')
    before, said = (home / 'data/results/laptop/claims.json').read_bytes(), []
    assert C.carry('HEAD~1', say=lambda *w, **_: said.extend(w)) == 1
    told = ' | '.join(said)
    assert '0 of 2 recorded row(s) carried' in said[0] and all(stale().values())
    for what in ('stage draw: 1 value(s)', 'claim toy.mean got', 'claim toy.mean null', 'figure toy.law'):
        assert what in told, told
    assert (home / 'data/results/laptop/claims.json').read_bytes() == before


def test_what_was_stale_already_is_not_carried_and_costs_no_run(home, monkeypatch):
    edit(home, 'normal(size=n)', 'normal(size=n) + 1', 'recorded never')
    edit(home, 'normal(size=n)', 'normal(size=n) + 1.', 'a point')
    monkeypatch.setattr(C, 'smoke', None)
    said = []
    assert C.carry('HEAD~1', say=said.append) == 1 and stale()['toy.mean']
    assert '2 recorded row(s) were stale at HEAD~1 already and stay so: laptop toy.mean, laptop toy.law, ...' in said


def test_a_page_that_fails_is_named(home, monkeypatch):
    edit(home, 'normal(size=n)', 'normal(size=n).copy()', 'a copy')
    def fails(*_): raise ValueError('paper_toy fails at smoke: no data here')
    monkeypatch.setattr(C, 'smoke', fails)
    said = []
    assert C.carry('HEAD~1', say=lambda *w, **_: said.extend(w)) == 1
    assert 'no data here' in said[-1] and stale()['toy.mean']


def test_asks_for_commits_and_a_revision(home):
    with pytest.raises(ValueError, match="'no-such' is no revision"): C.carry('no-such')
    for name in ('another', 'toy,other', '', 'paper_'):
        with pytest.raises(ValueError, match=f"no page is called '{name}'; expected some of toy"):
            C.carry('HEAD', [name])
    for name in ('toy', 'paper_toy', T.PAGE): C.carry('HEAD', [name], say=lambda *w, **_: None)
    (home / T.FILE).write_text((home / T.FILE).read_text() + '\n')
    with pytest.raises(ValueError, match='1 tracked file.*commit'): C.carry('HEAD')


def run(folder, **arrays):
    """What a run leaves, with one claim and one figure."""
    for k in ('cache/stages/__main__.s', 'out/claims', 'out/figures'): (folder / k).mkdir(parents=True)
    told = dict(got={'x': .1234567890123, 'nan': 'nan'}, null=1, spread=None)
    (folder / 'out/claims/a.b.json').write_text(json.dumps(told))
    np.savez(folder / 'out/figures/a.f.npz', **arrays)
    return folder


def test_arrays_are_compared_bit_for_bit(tmp_path):
    x = np.linspace(0, 1, 6).reshape(2, 3)
    y, nan = x.copy(), np.array([np.nan, 1.])
    y[1, 2] += 1e-16 * 5
    then = run(tmp_path / 'then', x=x, n=nan)
    assert C.differences(then, run(tmp_path / 'same', x=x, n=nan)) == ([], 6)
    told, = C.differences(then, run(tmp_path / 'other', x=y, n=nan))[0]
    assert told.startswith('figure a.f x[1, 2]: 1.0 then, 1.0000000000000004 now, largest difference 4.44e-16')
    assert 'float32' in C.differences(then, run(tmp_path / 'kind', x=x.astype('f4'), n=nan))[0][0]
    assert C.differences(then, run(tmp_path / 'named', of=x, m=nan))[0] == [] # the same under other names
    assert len(C.differences(then, run(tmp_path / 'lost', x=x))[0]) == 1


def test_numbers_are_compared_in_full():
    x = .1234567890123
    assert not C._same(x + 1e-13, x) and not C._same(.123457, x) and not C._same(None, 0.) and not C._same(1, 2)
    assert C._same('nan', 'nan') and C._same(float('nan'), float('nan')) and C._same(x, x)


def test_what_differs_holds_back_itself_and_a_stage_its_page():
    claim, figure = dict(kind='claims', id='a.b'), dict(kind='figures', id='a.b')
    for fault, rows in (('claim a.b null x: 1 then, 2 now', [1, 0]), ('figure a.b x[0]: 1 then, 2 now', [0, 1]),
                        ('claim a.bc got: 1 then, 2 now', [0, 0]), ('stage s: 1 value(s) of one content then', [1, 1]),
                        ('function deepstruct.a:b has changed and did not run at smoke', [1, 1])):
        assert [bool(C._concerns(fault, r)) for r in (claim, figure)] == rows, fault


def test_times_are_no_results():
    assert C._without_times({'a': [{'seconds': 3., 'b': 1}], 'each': 2}) == {'a': [{'b': 1}]}
