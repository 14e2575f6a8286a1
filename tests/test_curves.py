"""The papers' curves: every file is whole, faults are all named, numbers are those that the papers state."""
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from deepstruct import core
from deepstruct.book import curves

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / 'data/papers').glob('*.json'))
GOOD = dict(place='Fig. 1', series='falling', x_label='width', y_label='error', x=[1, 2, 4, 8], y=[1., .5, None, .13],
            certainty='F', how='read by eye', source='paper', error={'rel': .05})


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture
def papers(tmp_path, monkeypatch): # writes a paper's file, which is then the only one
    (tmp_path / 'papers').mkdir()
    monkeypatch.setattr(core, 'package_data', lambda name: tmp_path / name)
    curves.load.cache_clear()
    path = tmp_path / 'papers/1234.56789.json'
    yield lambda text: path.write_text(text if isinstance(text, str) else json.dumps(text))
    curves.load.cache_clear()


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_every_file_is_whole(path):
    records = curves.load(path.stem)
    assert records and path.stat().st_size < 300_000
    for r in records:
        assert not curves.faults(r) and curves.series(path.stem, r['place'], r['series']) is r
        assert set(r) <= {*GOOD, 'note', 'settings'}
        assert 'memory' not in json.dumps(r) # what is only remembered is in no file
        assert all(a <= b for a, b in r.get('settings', {}).get('bin_edges', []))


def test_there_are_files_of_nine_papers(): assert len(FILES) == 9


FIG3 = {1: [.351, .255, .179, .118, .076, .042], 2: [.586, .522, .459, .383, .312, .239],
        3: [.604, .551, .496, .421, .337, .253], 4: [.582, .533, .472, .399, .311, .220],
        5: [.558, .509, .443, .360, .261, .162], 6: [.662, .608, .550, .468, .358, .242],
        7: [.672, .625, .559, .469, .336, .233]}
WIDTHS = [2.**k for k in range(-3, 3)]
DIMS = [4**k for k in range(1, 8)]
STATED = [('2305.18512', 'Fig. 3 left', f'j={j}', WIDTHS, y, .0006) for j, y in FIG3.items()] + [
    ('2305.18512', 'fig-9', 'trained', WIDTHS, [88.0, 89.7, 91.1, 91.6, 91.9, 91.9], .05),
    ('2305.18512', 'fig-9', 'rainbow + retrained classifier', WIDTHS, [67.15, 77.13, 81.68, 85.52, 87.55, 88.72], .01),
    ('2305.18512', 'fig-9', 'rainbow', WIDTHS, [54.8, 67.2, 76.3, 81.4, 84.0, 84.7], .05),
    ('2305.18512', 'Fig. 3 right', 'layer 1 of 16 (colour order)', WIDTHS, [.598, .331, .218, .154, .078, .058], .001),
    ('2305.18512', 'Fig. 4 lower right', 'j=2', [*WIDTHS, 8, 16], [.71, .57, .45, .36, .28, .23, .19, .14], .006),
    ('2305.18512', 'Fig. 4 lower right', 'j=3', [*WIDTHS, 8, 16], [.90, .81, .70, .60, .49, .40, .30, .23], .006),
    ('2305.18512', 'Fig. 4 lower left', 'N=10', [5, 10, 20, 30, 40, 320], [46, 63, 74, 79, 80, 81], .6),
    ('2305.18512', 'Fig. 6 bottom', 'j=2, PCA of C_j', [25, 320], [88.1, 88.3], .06),
    ('2305.18512', 'Fig. 6 bottom', 'j=6, random basis', [0, 51], [10, 33.3], .6),
    ('2305.18512', 'Fig. 6 top', 'j=2, PCA of C_j', [22], [.5], .01),
    ('2305.18512', 'Fig. 6 top', 'j=4, KPCA of phi_(j-1)', [279], [.5], .01),
    ('2305.18512', 'Fig. 8', 'share outside the bulk, whitened weights, caption', [2, 4, 6], [2, 4, 8], 0),
    ('2305.18512', 'Fig. 10 upper left', 'epoch 20, smoothed line', [1, 5, 10, 20, 100, 512],
     [5.58, 5.04, 4.20, 2.96, 1.57, 1.03], .01),
    ('2305.18512', 'Fig. 10 upper right', 'epoch 20, smoothed line', [1, 5, 10, 20, 50, 100, 300, 512],
     [.763, .744, .730, .745, .827, .868, .861, .733], .0015),
    ('2305.18512', 'tab-1', 'J=3', [1, 2, 3, 4], [64, 128, 256, 512], 0),
    ('2306.00181', 'fig-5', 'tau (direct MALA)', DIMS, [1.4e2, 1e3, 2.9e3, 1e4, 3.5e4, 1.3e5, 4e5], '14 %'),
    ('2306.00181', 'fig-5', 'taubar (conditional)', DIMS, [4.5, 15, 28, 27, 38, 66, 143], '4 %'),
    ('2306.00181', 'Fig. 4 left', 'smallest eigenvalue drawn (left edge of the first bar)', [1, .5, .25, .125, .0625],
     [-2.22, -.79, .37, 1.75, 2.59], .006),
    ('2306.00181', 'Fig. 4 right', 'v_j (global potential)', [-.93, 0, .93], [0, .58, 0], .01),
    ('2310.02557', 'Fig. 4 left', 'empirical slope', [1, 2, 3, 5], [.46, .61, .75, .83], 0),
    ('2310.02557', 'Fig. 21', 'shrinkage factors, shuffled faces, sigma 0.3', [5, 17, 29, 41, 53],
     [1.182, 1.07, .974, .91, .87], 0),
    ('2208.05003', 'App. figure (Hessian histograms)', 'mean condition number as captioned', [1, 2],
     [18.32, 210.53], 0),
    ('2110.05283', 'Table 1', 'CIFAR-10 error, %', [1, 2, 3, 4], [27.7, 11.7, 7.7, 8.8], 0),
    ('2110.05283', 'tab-1', 'ImageNet top-5 error, %', [1, 2, 3, 4], [54.1, 15.2, 11.0, 10.9], 0)]


@pytest.mark.parametrize('arxiv, place, name, x, y, within', STATED, ids=lambda v: v if isinstance(v, str) else '')
def test_the_numbers_are_those_that_are_stated(arxiv, place, name, x, y, within):
    r = curves.series(arxiv, place, name)
    order = np.argsort(r['x'])
    got = np.interp(x, np.array(r['x'], float)[order], np.array(r['y'], float)[order])
    rel = isinstance(within, str)
    np.testing.assert_allclose(got, y, rtol=float(within[:-2]) / 100 if rel else 0, atol=0 if rel else within + 1e-9)


def test_densities_have_mass_one():
    for r in curves.load('2305.18512') + curves.load('2306.00181'):
        edges = r.get('settings', {}).get('bin_edges')
        if 'density' in r['y_label'] and edges and None not in r['y'] and len(edges) == len(r['y']):
            assert abs(sum((b - a) * y for (a, b), y in zip(edges, r['y'])) - 1) < .02, (r['place'], r['series'])


def test_the_slopes_of_the_mixing_times():
    for name, slope in (('tau (direct MALA)', .93), ('taubar (conditional)', .35)):
        r = curves.series('2306.00181', 'fig-5', name)
        assert abs(np.polyfit(np.log(r['x']), np.log(r['y']), 1)[0] - slope) < .005


@pytest.mark.parametrize('change, says', [
    (dict(x=[1, 2, 3]), 'x has 3 values, y 4'), (dict(y=[1., .5, .1]), 'x has 4 values, y 3'),
    (dict(x=[], y=[]), 'expected as many'), (dict(y=[None] * 4), 'expected as many'),
    (dict(y=3), 'x has 4 values, y 0'),
    (dict(x=[1, 2, 'four', 8]), "x holds 'four'"), (dict(x=[1, None, 4, 8]), 'x holds None'),
    (dict(y=[1, 2, 3, math.nan]), 'y holds nan'), (dict(y=[True, 2, 3, 4]), 'y holds True'),
    (dict(certainty=None), 'certainty is None'), (dict(certainty='M'), "certainty is 'M'; expected one of V, Vx, F"),
    (dict(certainty=['V']), 'certainty is'), (dict(place=''), "place is ''"), (dict(series=7), 'series is 7'),
    (dict(how=None), 'how is None'), (dict(source=None), 'source is None'), (dict(error=None), 'error is None'),
    (dict(error={}), 'read by eye, but has no error'), (dict(error={'rel': -1}), 'error rel is -1'),
    (dict(error={'rel': [.1, .2]}), 'error rel is'), (dict(error={'abs': 'some'}), "error abs is 'some'"),
    (dict(error={'y': 1, 'abs': 1}), 'error y is 1')])
def test_a_fault_is_named(change, says):
    found = curves.faults(GOOD | change)
    assert found and any(says in f for f in found), found


def test_a_record_may_lack_nothing():
    assert not curves.faults(GOOD)
    for k in GOOD:
        assert any(f.startswith((k, 'x has')) for f in curves.faults({a: GOOD[a] for a in GOOD if a != k})), k
    for error in ({'rel': .1, 'x': .2, 'words': 'half a pixel'}, {'abs': [1, 2, 3, 4]}):
        assert not curves.faults(GOOD | dict(error=error))
    assert not curves.faults(GOOD | dict(certainty='V', error={}))


def test_all_faults_of_a_file_come_in_one_line(papers):
    unsure = GOOD | dict(series='unsure', certainty='', y=[1, 2, 3, 'no'])
    papers([GOOD, GOOD, GOOD | dict(series='short', x=[1]), unsure, 7])
    with pytest.raises(ValueError) as e: curves.load('1234.56789')
    for words in ('1234.56789.json', 'falling: stands twice', 'short: x has 1 values, y 4', "unsure: certainty is ''",
                  "unsure: y holds 'no'", '7: no record'):
        assert words in str(e.value)
    assert '\n' not in str(e.value)


def test_a_file_that_is_not_json_or_not_there(papers):
    papers('[{]')
    with pytest.raises(ValueError, match='1234.56789.json is not JSON'): curves.load('1234.56789')
    with pytest.raises(ValueError, match="no curves of '9'; expected one of 1234.56789"): curves.load('9')


def test_what_is_not_there_names_what_is_near():
    for arxiv, place, name, says in [
            ('2306', 'Fig. 5', 'tau', "no curves of '2306'; expected one of .*2306.00181"),
            ('2306.00181', 'Fig. 55', 'tau', "2306.00181 has no curves of 'Fig. 55'; near: fig-5"),
            ('2306.00181', 'fig-5', 'tau', r"fig-5 has no series 'tau'; near: tau \(direct MALA\)"),
            ('2305.18512', 'Fig. 9', 'Rainbow, retrained', 'near: rainbow'),
            ('2305.18512', 'fig-3-left', 'xyz', 'near: j=1, j=2')]:
        with pytest.raises(ValueError, match=says): curves.series(arxiv, place, name)


@pytest.mark.parametrize('name, id', [
    ('Fig. 4 left', 'fig-4-left'), ('fig-4-left', 'fig-4-left'), ('Figure 5', 'fig-5'), ('Table 1', 'tab-1'),
    ('tab-1', 'tab-1'), ('Theorem 2.1', 'thm-2-1'), ('Prop. 3.1', 'prop-3-1'), ('Definition 2.1', 'def-2-1'),
    ('Fig. 3 row beta=0.50, spectrum', 'fig-3-row-beta-0-50-spectrum')])
def test_places_have_one_id(name, id): assert curves.place_id(name) == id


@pytest.mark.parametrize('change, words', [
    ({}, 'paper (read by eye, ±5 %)'), (dict(error={'abs': .8}), 'paper (read by eye, ±0.8)'),
    (dict(error={'rel': [.02, .02, .02, .08]}), 'paper (read by eye, ±2 to 8 %)'),
    (dict(certainty='Vx', how='vector graphics', error={'rel': .003}), 'paper (vector graphics)'),
    (dict(source='poster'), 'poster (read by eye, ±5 %)'),
    (dict(certainty='V', how='stated in the text', error={}), 'paper (stated in the text)')])
def test_labels_say_how_sure(change, words): assert curves.label(GOOD | change) == words


def test_a_hidden_stretch_breaks_the_line(axes):
    line = curves.draw(axes, GOOD)
    assert np.isnan(line.get_ydata()).tolist() == [False, False, True, False]
    assert line.get_color() == curves.GREY and line.get_gid() == 'paper.fig-1.falling' and line.get_marker() == 'o'
    bars = axes.collections[0].get_segments()
    assert len(bars) >= 3 and np.allclose(np.ptp(bars[0], axis=0), [0, .1]) # +- 5 % of 1


def test_many_points_have_a_band(axes):
    x = list(range(40))
    line = curves.draw(axes, GOOD | dict(x=x, y=[1.] * 40, error={'abs': .2}))
    low, high = axes.collections[0].get_datalim(axes.transData).intervaly
    assert line.get_marker() in ('', 'None') and np.allclose([low, high], [.8, 1.2])
    curves.draw(axes, GOOD | dict(x=x, y=[1.] * 40, certainty='V', error={})) # nothing where no error is known
    assert len(axes.collections) == 1


def test_words_stand_once_and_on_the_free_side(axes):
    up = GOOD | dict(y=[1, 2, 3, 4])
    curves.draw(axes, up, text='mine')
    curves.draw(axes, up, text='other', at=0)
    curves.draw(axes, up, text=None)
    curves.draw(axes, up | dict(source='poster'))
    how = '(read by eye, ±5 %)'
    assert [t.get_text() for t in axes.texts] == [f'mine, paper {how}', 'other', '', f'poster {how}']
    assert [(t.get_ha(), t.get_va()) for t in axes.texts[:2]] == [('right', 'bottom'), ('left', 'top')]


def test_units_and_style_are_the_caller_s(axes):
    line = curves.draw(axes, GOOD, unit=64, color='k', ls=':', label='a')
    assert line.get_xdata().tolist() == [64, 128, 256, 512] and line.get_color() == 'k' and line.get_label() == 'a'
    assert GOOD['x'] == [1, 2, 4, 8] # the record is nobody's to change


def test_one_point_is_drawn(axes):
    line = curves.draw(axes, GOOD | dict(x=[3], y=[2.]))
    assert line.get_marker() == 'o' and len(axes.texts) == 1


def test_all_curves_can_be_drawn(axes):
    for path in FILES:
        for r in curves.load(path.stem):
            line = curves.draw(axes, r, text=None)
            assert len(line.get_xdata()) == len(r['x'])


def test_reading_curves_loads_no_matplotlib():
    code = 'import sys; from deepstruct.book import curves; sys.exit(bool({"matplotlib", "torch"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def test_the_wheel_carries_the_curves(tmp_path):
    build = [sys.executable, 'setup.py', '-q', 'build_py', '-d', str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    carried = tmp_path / 'deepstruct/_data/papers'
    for path in FILES: assert (carried / path.name).read_bytes() == path.read_bytes()
