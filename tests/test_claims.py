"""Verdicts are computed, rows that cannot be judged are refused, and a claim that could not fail is none."""
import json

import numpy as np
import pytest
import toy as T

from deepstruct.book import claims as C


def row(**changes):
    base = dict(id='a.b', paper='a', where='Fig. 1', statement='s', kind='number', nature='measurement', source='paper', scale='paper',
                tolerance={'max': 1.}, tolerance_from='t', set='before', presets=['laptop'], expected={'laptop': 'holds'})
    return {k: v for k, v in (base | changes).items() if v is not None}


@pytest.mark.parametrize('tolerance, about, got, holds', [
    ({'max': 1.}, None, 1., True), ({'max': 1.}, None, 1.01, False), ({'min': 2}, None, 2, True), ({'min': 2}, None, 1.9, False),
    ({'min': 0., 'max': 1.}, None, -.1, False), ({'abs': .1}, 3., 3.1 - 1e-12, True), ({'abs': .1}, 3., 3.11, False), ({'rel': .1}, -3., -3.3 + 1e-12, True),
    ({'rel': .1}, -3., -2.6, False), ({'max': 1.}, None, float('nan'), False), ({'min': 1.}, None, float('inf'), False), ({'max': 1.}, None, 'nan', False)])
def test_inside(tolerance, about, got, holds):
    assert all(C.inside(row(tolerance=tolerance, target=about), got).values()) is holds


def test_target_comes_before_the_papers_value():
    assert C.inside(row(tolerance={'abs': .1}, target=2., paper_value=3., known='k'), 2.) == {'': True}
    assert C.inside(row(tolerance={'abs': .1}, target=None, paper_value=3., known='k'), 3.) == {'': True}


def test_parts():
    r = row(tolerance={'max': {'haar': 5e-4, 'db4': 1e-3, 'db4 0.76': 1e-2}})
    assert C.inside(r, {'haar 0.5': 4e-4, 'db4 beta=0.5': 9e-4, 'db4 beta=0.76': 9e-3}) == {'haar 0.5': True, 'db4 beta=0.5': True, 'db4 beta=0.76': True}
    assert C.inside(r, {'haar': 6e-4}) == {'haar': False}
    with pytest.raises(ValueError, match='nothing is given for the part'): C.inside(r, {'db40': 1e-9})


@pytest.mark.parametrize('source, scale, got, preset, word', [
    ('paper', 'paper', 0, 'laptop', 'holds'), ('paper', 'exact', 0, 'laptop', 'holds'), ('goal', 'reduced', 0, 'laptop', 'holds at reduced scale'),
    ('paper', 'paper', 2, 'laptop', 'differs'), ('goal', 'exact', 2, 'laptop', 'falls short'), ('goal', 'exact', 2, 'smoke', 'not run here'),
    ('goal', 'exact', None, 'laptop', 'not run here'), ('goal', 'exact', {'a': 0, 'b': 2}, 'laptop', 'falls short'), ('goal', 'exact', {'a': 0, 'b': 1}, 'laptop', 'holds')])
def test_verdict(source, scale, got, preset, word):
    assert C.verdict(row(source=source, scale=scale), got, preset) == word


def test_expected_is_completed_by_the_scale():
    assert C.expected(row(scale='reduced'), 'laptop') == 'holds at reduced scale' and C.expected(row(), 'laptop') == 'holds' and C.expected(row(), 'long') is None


@pytest.mark.parametrize('old, new, says', [
    ('id = "toy.mean"', '', "has no 'id'"), ('"number"', '"guess"', 'kind is'), ('"measurement"', '"x"', 'nature is'), ('"goal"', '"hope"', 'source is'),
    ('"exact"', '"huge"', 'scale is'), ('"before"', '"never"', 'set is'), ('{abs = 0.2}', '{}', 'tolerance is'), ('{abs = 0.2}', '{near = 0.2}', 'expected max, min'),
    ('{abs = 0.2}', '{max = "x"}', 'expected finite'), ('{abs = 0.2}', '{max = inf}', 'expected finite'), ('target = 0.0', '', 'about nothing'),
    ('target = 0.0', 'paper_value = 0.0', 'how it is known'), ('target = 0.0', 'target = 0.0\nweight = 1', 'unknown keys: weight'),
    ('["smoke", "laptop"]', '["smoke"]', 'is judged at'), ('laptop = "holds"', 'laptop = "differs"', 'cannot get'), ('laptop = "holds"', 'laptop = "fine"', 'expects'),
    ('laptop = "holds"', 'laptop = "falls short"', 'a number in it'), ('["smoke", "laptop"]', '["smoke", "tiny"]', 'names the preset'), ('[[claim]]', '[[claim', 'is not TOML')])
def test_bad_rows(tmp_path, old, new, says):
    assert old in T.ROW
    (tmp_path / 'claims.toml').write_text(T.ROW.replace(old, new))
    with pytest.raises(ValueError, match=says) as e: C.load_claims(tmp_path / 'claims.toml')
    assert '\n' not in str(e.value)


def test_a_row_stands_once(tmp_path):
    (tmp_path / 'claims.toml').write_text(T.ROW + T.ROW)
    with pytest.raises(ValueError, match='toy.mean stands twice'): C.load_claims(tmp_path / 'claims.toml')


@pytest.fixture
def started(toy, monkeypatch):
    monkeypatch.setattr(C, '_run', None)
    C.start('toy', 'nbs/toy/paper_toy.ipynb', preset='laptop', out=toy / 'out')
    return toy / 'out'


def test_null_that_would_pass_is_refused(started):
    with pytest.raises(ValueError, match='could not fail'): C.claim('toy.mean', 1., null=.1)
    with pytest.raises(ValueError, match='could not fail'): C.claim('toy.mean', {'a': 0., 'b': 0.}, null={'a': .1, 'b': .1})
    assert not (started / 'claims').exists()
    assert C.claim('toy.mean', {'a': 0., 'b': 0.}, null={'a': .1, 'b': 1.}) == 'holds'


@pytest.mark.parametrize('id, got, null, says', [('toy.mode', 0., 1., 'has no row'), ('toy.mean', None, 1., 'expected numbers'), ('toy.mean', {}, 1., 'expected numbers'),
                                                 ('toy.mean', 0., None, 'expected numbers')])
def test_bad_claims(started, id, got, null, says):
    with pytest.raises(ValueError, match=says): C.claim(id, got, null=null)


def test_claim_without_a_run(monkeypatch):
    monkeypatch.setattr(C, '_run', None)
    with pytest.raises(ValueError, match='outside a run'): C.claim('toy.mean', 0., null=1.)


def test_nan_is_written_as_a_word_and_falls_short(started):
    assert C.claim('toy.mean', np.float64('nan'), null=1.) == 'falls short'
    text = (started / 'claims/toy.mean.json').read_text()
    assert json.loads(text)['got'] == 'nan' and C.ledger(out=started)[0]['verdict'] == 'falls short' and len(C.failures(C.ledger(out=started))) == 1


def test_ledger_judges_again(started, toy):
    C.claim('toy.mean', .15, null=1.)
    assert C.ledger(out=started)[0]['verdict'] == 'holds'
    (toy / 'data/claims.toml').write_text(T.ROW.replace('abs = 0.2', 'abs = 0.1'))
    assert C.ledger(out=started)[0]['verdict'] == 'falls short'


def test_stale_by_code_and_not_by_prose(started, toy):
    C.claim('toy.mean', 0., null=1.)
    stale = lambda: C.ledger(out=started)[0]['stale']
    T.write(toy / 'nbs/toy/paper_toy.ipynb', [(t, s + '\n# a remark') for t, s in T.CELLS])
    assert not stale()
    T.write(toy / 'nbs/toy/paper_toy.ipynb', [*T.CELLS, ('', 'y = 1')])
    assert stale()


def test_figure_keeps_what_it_shows(started):
    x, y = np.arange(5.), np.arange(5.)**2
    with C.figure('toy.law', title='t', cols=2) as fig:
        fig.axes[0].plot(x, y, label='curve')
        fig.axes[0].scatter(x, -y)
        fig.axes[0].fill_between(x, y, 0)
        fig.axes[1].imshow(np.eye(3))
        fig.axes[1].bar([0, 1], [2, 3])
    kept = np.load(started / 'figures/toy.law.npz')
    assert np.array_equal(kept['0.Line2D0.y'], y) and any(np.array_equal(kept[k], np.eye(3)) for k in kept)
    assert any(kept[k].shape == (5, 2) and np.array_equal(kept[k][:, 1], -y) for k in kept)
    assert (started / 'figures/toy.law.png').stat().st_size <= 80_000
    told = json.loads((started / 'figures/toy.law.json').read_text())
    assert {'preset', 'parameters', 'seed', 'code', 'data', 'versions', 'device', 'seconds', 'notebook'} <= set(told)


def test_figure_that_fails_leaves_nothing(started):
    with pytest.raises(ZeroDivisionError), C.figure('toy.law'): 1 / 0
    noise = np.random.default_rng(0).normal(size=(600, 600))
    with pytest.raises(ValueError, match='expected at most 80'), C.figure('toy.law', size=(12, 12)) as fig: fig.axes[0].imshow(noise)
    assert not list(started.rglob('*toy.law*'))
