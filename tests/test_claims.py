"""All faults of the papers' files are named, verdicts and statuses computed; a claim that could not fail is none."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy as T

from deepstruct.book import claims as C
from deepstruct.book import ledger as L


def row(**changes):
    base = dict(
        id='a.b',
        of='fig-1',
        scale='paper',
        tolerance={'max': 1.0},
        target=None,
        paper_value=None,
        check=False,
        presets=['smoke', 'laptop'],
        expected={'smoke': 'holds', 'laptop': 'holds'},
    )
    return L.Row.model_construct(**base | changes)


def rows(home, *texts):
    (home / T.FILE).write_text(T.HEAD + ''.join(texts))


def said(home):
    """The lines of the one error that loading raises."""
    with pytest.raises(ValueError) as e:
        L.load(home)
    return str(e.value).split('\n')


# ---- the papers' files ----


def test_loading_needs_neither_torch_nor_numpy_nor_matplotlib(toy):
    code = (
        'import sys; from deepstruct.book import ledger as L; L.load(); L.ledger(); L.figures(); L.places(); '
        'print(*{"torch", "numpy", "matplotlib"} & set(sys.modules))'
    )
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '\n'


def test_a_book(toy):
    rows(toy, T.ROW, T.row('toy.speed', check=True, of=None))
    book = L.load()
    assert list(book.papers) == ['toy'] and [q.id for p, q in book.places] == ['fig-1', 'fig-2', 'thm-1']
    mean, speed = book.rows['toy.mean'], book.rows['toy.speed']
    assert (mean.paper, mean.check, mean.notebook, mean.tolerance) == ('toy', False, T.PAGE, {'abs': 0.2})
    assert speed.check is True and speed.of == '' and book.place('toy', 'toy:thm-1')[1].name == 'Theorem 1'


FAULTS = [
    ('id', None, "has no 'id'"),
    ('kind', 'guess', "kind is 'guess'; expected 'number', 'range'"),
    ('nature', None, "has no 'nature'"),
    ('scale', 'huge', "scale is 'huge'"),
    ('weight', 1, "unknown key 'weight'"),
    ('tolerance_date', 'never', "tolerance_date is 'never'"),
    ('protocol_date', None, "has no 'protocol_date'"),
    ('tolerance_date', 'after', 'no date_note'),
    ('protocol_date', 'after', 'no date_note'),
    ('tolerance', {}, 'tolerance is {}'),
    ('tolerance', {'near': 0.2}, 'tolerance.near'),
    ('tolerance', {'max': 'x'}, "tolerance.max is 'x'; expected a finite number"),
    ('tolerance', {'max': {}}, 'tolerance.max'),
    ('tolerance', {'max': float('inf')}, 'tolerance.max is inf'),
    ('tolerance', {'max': {'a': float('nan')}}, 'tolerance.max'),
    ('tolerance', {'max': True}, 'tolerance.max is True'),
    ('tolerance', {'max': 10**400}, 'tolerance.max is 1000'),
    ('target', None, 'about nothing'),
    ('target', [1.0], 'target is [1.0]'),
    ('paper_value', 3.0, 'not how it is known'),
    ('paper_value', float('nan'), 'paper_value is nan'),
    ('presets', [], 'presets is []'),
    ('presets', ['smoke', 'tiny'], "presets.1 is 'tiny'"),
    ('presets', ['laptop'], "is judged at ['laptop']"),
    ('presets', 'laptop', "presets is 'laptop'"),
    ('expected', {'smoke': 'holds', 'laptop': 'fine'}, "expected.laptop is 'fine'"),
    ('expected', {'smoke': 'holds', 'laptop': 'passes'}, "expected.laptop is 'passes'"),
    ('expected', {'smoke': 'holds', 'laptop': 'differs'}, 'a why with a number'),
    ('of', 'fig-11', "of is 'fig-11', a place that does not exist; near: fig-1"),
    ('of', 'other:fig-1', 'does not exist'),
    ('of', None, "has no 'of'"),
    ('of', '', "of is ''"),
    ('null', 'soon', "unknown key 'null'"),
    ('needs', 'faces', "needs is 'faces'"),
    ('statement', '', "statement is ''"),
    ('statement', 'a <script>x</script>', 'without HTML'),
    ('statement', 'a \x1b[31m', 'visible characters'),
    ('id', '../../x', "id is '../../x'"),
    ('id', 'a\n', "id is 'a\\n'"),
]


@pytest.mark.parametrize('key, value, says', FAULTS, ids=lambda v: str(v)[:20])
def test_a_fault_is_named(toy, key, value, says):
    rows(toy, T.row(**{key: value}))
    lines = said(toy)
    who = 'row 1' if key == 'id' else 'toy.mean'
    assert all(line.startswith(f'{T.FILE}: {who}: ') for line in lines) and any(says in line for line in lines), lines


def test_five_faults_of_a_file_are_all_named(toy):
    rows(
        toy,
        T.row(kind='guess', weight=1, nature=None),
        T.row('toy.b', of='fig-9', paper_value=3.0),
        T.row('toy.c', tolerance={'abs': 0.1}, target=None, protocol_date='after'),
    )
    lines = said(toy)
    for who, says in [
        ('toy.mean', "kind is 'guess'"),
        ('toy.mean', "unknown key 'weight'"),
        ('toy.mean', "has no 'nature'"),
        ('toy.b', "of is 'fig-9'"),
        ('toy.b', 'not how it is known'),
        ('toy.c', 'about nothing'),
        ('toy.c', 'no date_note'),
    ]:
        assert [line for line in lines if line.startswith(f'{T.FILE}: {who}: ') and says in line], (who, says)
    assert len(lines) == 7


def test_faults_of_all_files_at_once(toy):
    other = toy / 'nbs/toy/paper_other.toml'
    other.write_text('[paper]\nname = "other"\ntitle = "t"\nabout = "nobody"\n' + T.ROW + '[[row]\n')
    rows(toy, T.row(kind='guess'))
    lines = said(toy)
    assert (
        len(lines) == 2
        and lines[0].startswith('nbs/toy/paper_other.toml: cannot be read')
        and "kind is 'guess'" in lines[1]
    )
    other.write_text('[paper]\nname = "another"\ntitle = "t"\nabout = "nobody"\n' + T.ROW)
    lines = said(toy)
    assert any("name is 'another'" in x for x in lines) and any("about 'nobody', which is no paper" in x for x in lines)
    assert any('toy.mean: stands twice, first in nbs/toy/paper_other.toml' in x for x in lines), lines
    assert any("kind is 'guess'" in x for x in lines)


@pytest.mark.parametrize(
    'old, new, says',
    [
        ('authors = "A. Author, B. Author"\n', '', "paper: has no 'authors'"),
        ('2601.00001', 'hep-th/1', 'paper: arxiv is'),
        ('read = ', 'rad = ', "paper: unknown key 'rad'"),
        ('"thm-1"', '"fig-1"', 'fig-1: stands twice'),
        ('"Theorem 1"', '"<b>1"', 'thm-1: name is'),
        ('"M"', '"X"', "thm-1: certainty is 'X'"),
        ('[[place]]', '[[plaice]]', "unknown key 'plaice'"),
        ('[[place]]\nid = "fig-1"', '[[place]]\nid = "a:b"', "place 1: id is 'a:b'"),
        ('[paper]', '[papers]', "has no 'paper'"),
    ],
)
def test_heads_and_places(toy, old, new, says):
    assert old in T.HEAD
    (toy / T.FILE).write_text(T.HEAD.replace(old, new))
    assert any(says in line for line in said(toy)), said(toy)


def test_what_is_known_from_memory_prints_no_number(toy):
    rows(toy, T.row(of='thm-1', paper_value=3.0, known='k'))
    assert 'known from memory (M)' in said(toy)[0]
    rows(toy, T.row(of='fig-1', paper_value=3.0, known='k'))
    assert L.load(toy).rows['toy.mean'].paper_value == 3.0


def test_further_pages_of_a_paper(toy):
    (toy / 'nbs/toy/paper_more.toml').write_text(
        '[paper]\nname = "more"\ntitle = "More"\nabout = "toy"\n' + T.row('more.a', of='fig-2')
    )
    book = L.load()
    assert book.main('more').arxiv == '2601.00001' and book.place('more', 'fig-2')[1].name == 'Fig. 2'
    assert [r['place'] for r in L.ledger() if r['id'] == 'more.a'] == ['Fig. 2'] and L.ledger()[0][
        'arxiv'
    ] == '2601.00001'
    assert next(p for p in L.places() if p['id'] == 'fig-2')['rows'] == ['more.a']


@pytest.mark.parametrize(
    'text',
    [
        'a = ' + '[' * 3000 + ']' * 3000,
        'a = 1' + '0' * 5000,
        'a = "\udcff"',
        'row = 3',
        'row = [1, "a"]',
        'paper = [1]',
        'place = [[1]]\nrow = {a = 1}',
        '[[row]]\nid = 0x' + 'f' * 5000,
        '[[row]]\nid = [1]\npresets = [[1]]',
    ],
)
def test_hostile_files_end_in_lines(toy, text):
    (toy / T.FILE).write_bytes(text.encode('utf-8', 'surrogateescape'))
    assert all(line.startswith(T.FILE) and len(line) < 300 for line in said(toy))


def test_no_files_and_another_project(tmp_path, monkeypatch):
    empty = L.load(tmp_path)
    assert not (empty.papers or empty.rows or empty.places)
    home = T.project(tmp_path / 'other')
    (home / 'settings.ini').write_text('[DEFAULT]\nlib_name = another\n')
    monkeypatch.setenv('DEEPSTRUCT_ROOT', str(home))
    with pytest.raises(ValueError, match='no checkout of deepstruct'):
        L.project()


# ---- verdicts ----


@pytest.mark.parametrize(
    'tolerance, about, got, holds',
    [
        ({'max': 1.0}, None, 1.0, True),
        ({'max': 1.0}, None, 1.01, False),
        ({'min': 2}, None, 2, True),
        ({'min': 2}, None, 1.9, False),
        ({'min': 0.0, 'max': 1.0}, None, -0.1, False),
        ({'abs': 0.1}, 3.0, 3.1 - 1e-12, True),
        ({'abs': 0.1}, 3.0, 3.11, False),
        ({'rel': 0.1}, -3.0, -3.3 + 1e-12, True),
        ({'rel': 0.1}, -3.0, -2.6, False),
        ({'max': 1.0}, None, float('nan'), False),
        ({'min': 1.0}, None, float('inf'), False),
        ({'max': 1.0}, None, 'nan', False),
    ],
)
def test_inside(tolerance, about, got, holds):
    assert all(L.inside(row(tolerance=tolerance, target=about), got).values()) is holds


def test_target_comes_before_the_papers_value():
    assert L.inside(row(tolerance={'abs': 0.1}, target=2.0, paper_value=3.0), 2.0) == {'': True}
    assert L.inside(row(tolerance={'abs': 0.1}, paper_value=3.0), 3.0) == {'': True}


def test_parts():
    r = row(tolerance={'max': {'haar': 5e-4, 'db4': 1e-3, 'db4 0.76': 1e-2}})
    assert set(L.inside(r, {'haar 0.5': 4e-4, 'db4 beta=0.5': 9e-4, 'db4 beta=0.76': 9e-3}).values()) == {True}
    assert L.inside(r, {'haar': 6e-4}) == {'haar': False}
    with pytest.raises(ValueError, match='nothing is given for the part'):
        L.inside(r, {'db40': 1e-9})


@pytest.mark.parametrize(
    'check, scale, got, preset, word',
    [
        (False, 'paper', 0, 'laptop', 'holds'),
        (False, 'exact', 0, 'laptop', 'holds'),
        (False, 'reduced', 0, 'laptop', 'holds at reduced scale'),
        (False, 'paper', 2, 'laptop', 'differs'),
        (True, 'exact', 2, 'laptop', 'falls short'),
        (True, 'reduced', 0, 'laptop', 'passes'),
        (False, 'exact', 2, 'smoke', 'not run here'),
        (False, 'exact', 2, 'long', 'not run here'),
        (True, 'exact', None, 'laptop', 'not run here'),
        (False, 'exact', {'a': 0, 'b': 2}, 'laptop', 'differs'),
        (False, 'exact', {'a': 0, 'b': 1}, 'laptop', 'holds'),
    ],
)
def test_verdict(check, scale, got, preset, word):
    assert L.verdict(row(check=check, scale=scale), got, preset) == word


def test_expected_is_completed_by_the_scale():
    assert (
        L.expected(row(scale='reduced'), 'laptop') == 'holds at reduced scale'
        and L.expected(row(), 'laptop') == 'holds'
    )
    assert (
        L.expected(row(), 'long') is None
        and L.expected(row(check=True, expected={'long': 'passes'}), 'long') == 'passes'
    )


# ---- claims ----


def begin(toy, preset='laptop'):
    C.start('toy', T.PAGE, preset=preset, out=toy / 'out')
    return toy / 'out'


@pytest.fixture
def started(toy, monkeypatch):
    monkeypatch.setattr(C, '_run', None)
    return begin(toy)


def value(x):
    return x


def test_one_statistic_on_data_and_control(started):
    calls = []

    def mean(x):
        calls.append(x)
        return np.mean(x)

    assert C.claim('toy.mean', mean, [0.0, 0.1], null=[3.0, 4.0], n=2, seeds=1, spread=0.1, note='a note') == 'holds'
    kept = json.loads((started / 'claims/toy.mean.json').read_text())
    assert calls == [[0.0, 0.1], [3.0, 4.0]] and (kept['got'], kept['null'], kept['n'], kept['note']) == (
        0.05,
        3.5,
        2,
        'a note',
    )
    assert {'id', 'paper', 'notebook', 'preset', 'seed', 'seconds', 'device', 'versions', 'key', 'verdict'} <= set(kept)
    assert {'python', 'torch', 'numpy'} <= set(kept['versions'])


def test_null_that_would_pass_is_refused(started):
    with pytest.raises(ValueError, match='could not fail'):
        C.claim('toy.mean', value, 1.0, null=0.1)
    with pytest.raises(ValueError, match='could not fail.* in b$'):
        C.claim('toy.mean', value, {'a': 0.0, 'b': 0.0}, null={'a': 1.0, 'b': 0.1})
    assert not (started / 'claims').exists()
    assert C.claim('toy.mean', value, {'a': 0.0, 'b': 0.0}, null={'a': 1.0, 'b': 1.0}) == 'holds'


def test_null_without_a_part_or_a_number_is_refused(started):
    for null in ({'a': 1.0}, 1.0, {'a': 1.0, 'b': float('nan')}):
        with pytest.raises(ValueError, match='on the control it is'):
            C.claim('toy.mean', value, {'a': 0.0, 'b': 0.0}, null=null)


def test_a_statistic_is_a_function_and_a_null_is_data(toy, started):
    with pytest.raises(ValueError, match='expected a function'):
        C.claim('toy.mean', 0.0, 0.0, null=1.0)
    for call in (lambda: C.claim('toy.mean', value, 0.0), lambda: C.claim('toy.mean', value, null=1.0)):
        with pytest.raises(TypeError, match='missing 1 required'):
            call()
    with pytest.raises(ValueError, match='null'):
        rows(toy, T.row(null='to be replaced'))
        begin(toy)


@pytest.mark.parametrize(
    'id, got, null, says',
    [
        ('toy.mode', 0.0, 1.0, 'has no row'),
        ('toy.mean', None, 1.0, 'got is None'),
        ('toy.mean', {}, 1.0, 'got is {}'),
        ('toy.mean', 0.0, None, 'null is None'),
        ('toy.mean', 'much', 1.0, "got is 'much'"),
        ('toy.mean', [0.0], 1.0, 'got is'),
        ('toy.mean', 10**400, 1.0, 'got is 1000'),
        ('toy.mean', {'a': {'b': 0.0}}, 1.0, 'got is'),
    ],
)
def test_bad_claims(started, id, got, null, says):
    with pytest.raises(ValueError, match=says):
        C.claim(id, value, got, null=null)


def test_claim_without_a_run_or_of_another_page(toy, monkeypatch):
    monkeypatch.setattr(C, '_run', None)
    with pytest.raises(ValueError, match='outside a run'):
        C.claim('toy.mean', value, 0.0, null=1.0)
    (toy / 'nbs/toy/paper_more.toml').write_text(
        '[paper]\nname = "more"\ntitle = "More"\nabout = "toy"\n' + T.row('more.a', of='fig-2')
    )
    begin(toy)
    with pytest.raises(ValueError, match='has no row in paper_toml|has no row in paper_toy.toml'):
        C.claim('more.a', value, 0.0, null=1.0)
    with pytest.raises(ValueError, match="page 'none' has no paper_none.toml"):
        C.start('none', 'x.ipynb')
    with pytest.raises(ValueError, match='expected one of smoke'):
        C.start('toy', T.PAGE, preset='huge')


def test_smoke_prints_nothing_that_looks_like_a_verdict(toy, monkeypatch, capsys):
    begin(toy, 'smoke')
    assert C.claim('toy.mean', value, 3.0, null=0.0) == 'not run here'  # the guard judges nothing either
    assert capsys.readouterr().out == 'toy.mean · made; not judged at smoke\n'
    assert L.ledger('smoke', toy / 'out')[0]['verdict'] == 'not run here' and not L.failures(
        L.ledger('smoke', toy / 'out')
    )


def test_numbers_keep_their_precision(started):
    C.claim(
        'toy.mean', value, {'a': 1 / 7, 'b': np.float64(0.1) / 3}, null={'a': 1.0, 'b': 1.0}, spread=np.float64(1 / 3)
    )
    kept = json.loads((started / 'claims/toy.mean.json').read_text())
    assert kept['got'] == {'a': 1 / 7, 'b': 0.1 / 3} and kept['spread'] == 1 / 3


def test_nan_is_written_as_a_word_and_differs(started):
    assert C.claim('toy.mean', value, np.float64('nan'), null=1.0) == 'differs'
    assert json.loads((started / 'claims/toy.mean.json').read_text())['got'] == 'nan'
    assert L.ledger(out=started)[0]['verdict'] == 'differs' and len(L.failures(L.ledger(out=started))) == 1


def test_seconds_count_what_came_from_the_cache(started, monkeypatch):
    from deepstruct import core

    left = [100.0, 0.0]
    monkeypatch.setattr(core, 'spent', lambda: left.pop(0))
    C.claim('toy.mean', value, 0.0, null=1.0)
    assert 100 <= json.loads((started / 'claims/toy.mean.json').read_text())['seconds'] < 110


# ---- the ledger ----


def test_ledger_judges_again(started, toy):
    C.claim('toy.mean', value, 0.15, null=1.0)
    assert L.ledger(out=started)[0]['verdict'] == 'holds'
    rows(toy, T.row(tolerance={'abs': 0.1}))
    assert L.ledger(out=started)[0]['verdict'] == 'differs'


KEYS = (
    'id paper arxiv of place statement kind nature paper_value known tolerance tolerance_from tolerance_date '
    'protocol_date null got n seeds spread note verdict expected why needs preset seconds device notebook stale '
    'carried check'
).split()


def test_shape_of_the_json(started, toy):
    rows(toy, T.ROW, T.row('toy.speed', check=True, of=None))
    assert sorted(L.ledger()[0]) == sorted(KEYS) and [r['id'] for r in L.ledger(checks=True)] == ['toy.speed']
    assert [r['id'] for r in L.ledger()] == ['toy.mean'] and L.ledger(checks=True)[0]['place'] == ''
    assert sorted(L.figures()[0]) == sorted('id paper of place title notebook png preset seconds stale'.split())
    assert sorted(L.places()[0]) == sorted('paper arxiv id place shows needs certainty status why rows figures'.split())
    assert json.loads(json.dumps([L.ledger(), L.figures(), L.places()]))


@pytest.mark.parametrize('preset', L.PRESETS)
def test_expected_and_absent_fails_at_every_preset(toy, preset, monkeypatch, tmp_path):
    rows(
        toy,
        T.row(presets=[preset], expected={preset: 'holds'}),
        T.row('toy.far', presets=[preset], expected={preset: 'holds'}, needs=['faces']),
    )
    (toy / 'out').mkdir()
    assert [r['id'] for r in L.failures(L.ledger(preset, toy / 'out'))] == ['toy.mean']
    assert not L.failures(L.ledger('long' if preset == 'laptop' else 'laptop', toy / 'out'))  # not asked for there
    (tmp_path / 'data/faces').mkdir(parents=True)
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path / 'data'))
    assert [r['id'] for r in L.failures(L.ledger(preset, toy / 'out'))] == ['toy.mean', 'toy.far']  # its data are here


def test_absent_where_other_rows_were_recorded(toy, started):
    rows(toy, T.ROW, T.row('toy.b'))
    begin(toy)
    C.claim('toy.mean', value, 0.0, null=1.0)
    assert [(r['id'], r['preset']) for r in L.failures(L.ledger(out=started))] == [('toy.b', 'laptop')]


def test_a_verdict_other_than_the_expected_fails_both_ways(toy, started):
    rows(
        toy,
        T.row(presets=['laptop'], expected={'laptop': 'differs'}, why='it was 3'),
        T.row('toy.speed', check=True, of=None),
    )
    begin(toy)
    C.claim('toy.mean', value, 3.0, null=4.0)
    C.claim('toy.speed', value, 3.0, null=4.0)
    assert (
        not L.failures(L.ledger(out=started))
        and L.failures(L.ledger(out=started, checks=True))[0]['verdict'] == 'falls short'
    )
    C.claim('toy.mean', value, 0.0, null=4.0)
    assert L.failures(L.ledger(out=started))[0]['verdict'] == 'holds'


def test_status_of_a_place(toy, started):
    rows(
        toy,
        T.ROW,
        T.row('toy.red', of='thm-1', scale='reduced'),
        T.row('toy.free', of='beyond'),
        T.row('toy.c', check=True, of='fig-2'),
    )
    status = lambda: {p['id']: (p['status'], p['why']) for p in L.places('laptop', started)}
    begin(toy)
    for id in ('toy.mean', 'toy.red', 'toy.c', 'toy.free'):
        C.claim(id, value, 0.0, null=4.0)
    assert status() == {
        'fig-1': ('reproduced', ''),
        'thm-1': ('not attempted', 'what it says is known from memory only; its rows hold'),
        'fig-2': ('needs data or a GPU', 'no row answers it yet'),
    }
    C.claim('toy.mean', value, 1.0, null=4.0)
    assert status()['fig-1'][0] == 'differs'
    (started / 'claims/toy.mean.json').unlink()
    assert status()['fig-1'] == ('not attempted', 'not run yet: toy.mean')
    rows(toy, T.row(of='thm-1'), T.row('toy.b', of='thm-1', scale='reduced'))
    begin(toy)
    for id in ('toy.mean', 'toy.b'):
        C.claim(id, value, 0.0, null=4.0)
    assert status() == {
        'fig-1': ('not attempted', 'drawn, not judged'),
        'thm-1': ('not attempted', 'what it says is known from memory only; its rows hold'),
        'fig-2': ('needs data or a GPU', 'no row answers it yet'),
    }
    assert L.counts(L.places('laptop', started))['toy'] == dict(zip(L.STATUSES, (0, 0, 0, 1, 2)))
    assert next(p for p in L.places('laptop', started) if p['id'] == 'thm-1')['rows'] == ['toy.mean', 'toy.b']
    (toy / T.FILE).write_text(T.HEAD.replace('"M"\n', '"M"\nwhy = "too deep"\n'))
    assert {p['id']: p['why'] for p in L.places()}['thm-1'] == 'too deep'


def recorded(home, preset, kind, text):
    path = home / 'data/results' / preset / f'{kind}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_records_of_the_largest_preset(toy):
    one = lambda preset, got: json.dumps([dict(id='toy.mean', preset=preset, got=got, null=1.0)])
    recorded(toy, 'laptop', 'claims', one('laptop', 0.1))
    recorded(toy, 'smoke', 'claims', one('smoke', 5.0))
    assert L.records('claims')['toy.mean']['got'] == 0.1 and L.records('claims', 'smoke')['toy.mean']['got'] == 5.0
    assert L.ledger()[0]['preset'] == 'laptop' and not L.records('claims', 'long')
    with pytest.raises(ValueError, match='expected one of smoke'):
        L.records('claims', 'huge')
    with pytest.raises(ValueError, match='no folder'):
        L.records('claims', out=toy / 'nowhere')


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[',
        '[1]',
        '{}',
        '"a"',
        '[{"id": "toy.mean"}]',
        '[{"id": "../x", "preset": "laptop"}]',
        '[' * 5000,
        '[{"id": "toy.mean", "preset": "laptop", "got": 1' + '0' * 5000 + '}]',
    ],
)
def test_damaged_records_count_as_absent_in_one_line(toy, capsys, text):
    recorded(toy, 'laptop', 'claims', text)
    (toy / 'out/claims').mkdir(parents=True)
    (toy / 'out/claims/toy.mean.json').write_text(text)
    for out in (None, toy / 'out'):
        assert (
            L.ledger('laptop', out)[0]['got'] is None
            and L.failures(L.ledger('laptop', out))
            and L.places('laptop', out)
        )
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and str(toy) in lines[0] and 'damaged' in lines[0]


@pytest.mark.parametrize('got', [[1.0], {'a': [1.0]}, 'much', {}, {'other part': 0.0}, None])
def test_a_record_that_does_not_fit_its_row_counts_as_absent(toy, capsys, got):
    L.warn_once.cache_clear()
    rows(toy, T.row(tolerance={'max': {'a': 1.0}}))
    recorded(toy, 'laptop', 'claims', json.dumps([dict(id='toy.mean', preset='laptop', got=got)]))
    assert [r['got'] for r in L.failures(L.ledger('laptop'))] == [None] and 'does not fit' in capsys.readouterr().err


def test_stale_where_the_page_changed_above(toy, started):
    C.claim('toy.mean', value, 0.0, null=1.0)
    with C.figure('toy.law', 'A law', of='fig-1'):
        pass
    assert json.loads((started / 'claims/toy.mean.json').read_text())['key']

    def stale(cells):
        T.write(toy / T.PAGE, cells)
        return L.ledger(out=started)[0]['stale'], L.figures(out=started)[0]['stale']

    edited = lambda k, end: [(t, s + end * (i == k)) for i, (t, s) in enumerate(T.CELLS)]
    assert (
        stale(edited(5, '  # a remark'))
        == stale([*T.CELLS, ('', 'y = 1')])
        == stale(edited(9, '\ny = 1'))
        == (False, False)
    )
    assert stale(edited(5, '[:-1]')) == (True, True) and stale(edited(8, '\ny = 1')) == (False, True)
    assert not L.ledger()[0]['stale']  # what was not recorded


def test_scan(toy):
    assert L.scan() == {
        'claim': {'toy.mean': dict(notebook=T.PAGE, paper='toy', cell=7)},
        'figure': {'toy.law': dict(notebook=T.PAGE, paper='toy', cell=8, of='fig-1', title='A law')},
    }
    T.write(
        toy / T.PAGE, [*T.CELLS, ('', "%time\nif x: C.claim('toy.mean', f, x, null=y)\nfigure('toy.b', 'B', 'beyond')")]
    )
    assert L.scan()['claim']['toy.mean']['cell'] == 10 and L.scan()['figure']['toy.b']['of'] == 'beyond'
    page = json.loads((toy / T.PAGE).read_text())
    page['cells'].insert(0, dict(cell_type='markdown', id='m', metadata={}, source=['claim("x.y")']))
    (toy / T.PAGE).write_text(json.dumps(page))
    assert L.scan()['claim']['toy.mean']['cell'] == 11  # of all cells
    T.write(toy / 'nbs/toy/paper_more.ipynb', [('', "figure('more.a')")])  # has no file yet
    assert [f['place'] for f in L.figures() if f['id'] == 'more.a'] == [''] and L.places()
    T.write(toy / 'nbs/toy/paper_more.ipynb', T.CELLS)
    with pytest.raises(ValueError, match='stands in two pages'):
        L.scan()
    for text in ('', '{}', '{"cells": [{"cell_type": "code", "source": "if"}]}'):
        (toy / 'nbs/toy/paper_more.ipynb').write_text(text)
        with pytest.raises(ValueError, match='paper_more.ipynb is no'):
            L.scan()


# ---- figures ----


def test_figure_keeps_named_arrays(started):
    tau = np.arange(3.0)
    with C.figure('toy.law', 'A law', of='fig-1', data=dict(L=[1, 2], tau={'haar': tau, 0.5: tau + 1})) as fig:
        fig.axes[0].plot(tau)
    kept = np.load(started / 'figures/toy.law.npz')
    assert sorted(kept) == ['L', 'tau.0.5', 'tau.haar'] and np.array_equal(kept['tau.0.5'], tau + 1)
    told = json.loads((started / 'figures/toy.law.json').read_text())
    assert {
        'preset',
        'parameters',
        'seed',
        'key',
        'data',
        'versions',
        'device',
        'seconds',
        'notebook',
        'of',
        'title',
    } <= set(told)
    for data in (dict(a=[[1], [1, 2]]), {'../a': [1.0]}, dict(a=[None])):
        with pytest.raises(ValueError, match='expected an array of numbers'), C.figure('toy.b', of='fig-1', data=data):
            pass


def test_what_is_drawn_is_named_by_panel_and_label(started):
    x, y = np.arange(5.0), np.arange(5.0) ** 2
    with C.figure('toy.law', 't', of='beyond', cols=2) as fig:
        a, b = fig.axes
        a.set_title('error, $\\beta$ = 0.5')
        a.plot(x, y, label='curve')
        a.plot(x, np.ma.masked_equal(y, 4.0), label='curve')
        a.scatter(x, -y, c=x, label='dots')
        a.fill_between(x, y, 0)
        a.errorbar(x, y, y, label='bars')
        fig.colorbar(b.imshow(np.eye(3, dtype=np.uint8)))
        b.bar([0, 1], [2, 3], label='counts')
        b.set_ylabel('height / m')
    kept = np.load(started / 'figures/toy.law.npz')
    left, right = 'error, beta = 0.5', 'height  m'
    assert np.array_equal(kept[f'{left}.curve.y'], y) and np.isnan(kept[f'{left}.curve 2.y'][2])
    assert np.array_equal(kept[f'{left}.dots.xy'][:, 1], -y) and np.array_equal(kept[f'{left}.dots.value'], x)
    assert np.array_equal(kept[f'{left}.bars.y'], y) and kept[f'{right}.axesimage.value'].dtype == np.uint8
    assert kept[f'{right}.counts.xy'].shape == (2, 5, 2) and not any('Line2D' in k or k[0].isdigit() for k in kept)
    assert not any(k.startswith('panel') for k in kept)  # nothing of the colour bar
    assert (started / 'figures/toy.law.png').stat().st_size <= 200_000


def test_places_and_names_of_figures_are_checked(started):
    for of in ('fig-1', 'toy:thm-1', 'beyond', 'check'):
        with C.figure('toy.law', of=of):
            pass
    for of in ('fig-9', '', 'goal', 'other:fig-1'):
        with pytest.raises(ValueError, match='does not exist'), C.figure('toy.law', of=of):
            pass
    for id in ('../../x', 'a/b', '', '.x', 'a b', 'a\n', 3):
        with pytest.raises(ValueError, match='expected a plain name'), C.figure(id, of='fig-1'):
            pass
    with pytest.raises(ValueError, match='without HTML'), C.figure('toy.law', '<script>alert(1)</script>', of='fig-1'):
        pass


def test_figure_that_fails_leaves_nothing(started):
    with pytest.raises(ZeroDivisionError), C.figure('toy.law', of='fig-1'):
        1 / 0
    noise = np.random.default_rng(0).normal(size=(600, 600))
    with pytest.raises(ValueError, match='expected at most 200'), C.figure('toy.law', of='fig-1', size=(12, 12)) as fig:
        fig.axes[0].imshow(noise)
    assert not list(started.rglob('*toy.law*'))


def test_style_is_what_was_drawn(started):
    """The colours, sizes and maps that a figure's record has are those of its artists, and greys are free."""
    with C.figure('toy.seen', 'seen', of='check', size=(7, 3), cols=2) as fig:
        left, right = fig.axes
        left.plot([1, 2], c='C1')
        left.plot([1, 2], c='.4')
        left.plot([1, 2], c='#123456', visible=False)
        left.scatter([1, 2], [1, 2], c=[0., 1.], cmap='magma')
        left.hist([1, 2, 3], color='C2')
        left.set_title('large', fontsize=20)
        right.imshow([[0., 1.]], cmap='gray')
        right.fill_between([1, 2], [1, 2], color='C0', alpha=.3)
    seen = json.loads((started / 'figures/toy.seen.json').read_text())['style']
    width, height = seen.pop('panel')
    assert 2 < width < 3.4 and 1.8 < height < 3
    assert seen == dict(inches=[7, 3], points=[7.5, 9], maps=['gray', 'magma'], under=0,
                        colours=sorted(C.COLOURS[k].lower() for k in (0, 1, 2)))


def test_curves_beneath_a_legend_and_squeezed_panels_are_counted(started):
    def style(draw, **kw):
        with C.figure('toy.seen', 'seen', of='check', **{'size': (7, 3), 'cols': 2, **kw}) as fig:
            draw(*fig.axes)
        return json.loads((started / 'figures/toy.seen.json').read_text())['style']
    def fan(ax, where, out=False):
        for k in range(3): ax.plot([0, 1, 2], [k, k, k], label=f'curve {k}')
        ax.plot([0, 1, 2], [2, 2, 2], 'o', ls='none', label='dots')
        ax.scatter([0, 2], [2, 2], label='cloud')
        ax.axhline(2)
        ax.legend(loc=where, **({'bbox_to_anchor': (1.02, 1)} if out else {}))
    for where, out, count in ('upper left', False, 3), ('center right', False, 1), ('upper left', True, 0):
        assert style(lambda a, b: fan(a, where, out))['under'] == count, where
    assert style(lambda a: fan(a, 'upper left'), cols=1, size=(3.4, 2.6))['under'] == 3
    def tall(a, b):
        a.plot([1, 2, 3])
        b.plot([1, 2, 3])
        b.set_title('a title\n' * 9)
    assert style(tall)['panel'][1] < 1.6


@pytest.mark.parametrize('preset', ['laptop', 'long'])
def test_recorded_figures_have_one_style(preset):
    """Two widths, text of 7 to 9 points, one palette, and the few maps that the book uses."""
    ours, maps = {c.lower() for c in C.COLOURS}, {'gray', 'gray_r', 'RdBu_r', 'magma', 'viridis', 'hsv'}
    path = Path(__file__).parents[1] / f'data/results/{preset}/figures.json'
    for r in (r for r in json.loads(path.read_text(encoding='utf-8')) if 'style' in r):
        s = r['style']
        assert s['inches'][0] in C.WIDTHS and set(s['colours']) <= ours and set(s['maps']) <= maps, (r['id'], s)
        assert s.get('under', 0) <= 1 and min(s.get('panel') or [1]) >= .45, (r['id'], s)
        assert not s['points'] or C.TEXT[0] <= s['points'][0] <= s['points'][1] <= C.TEXT[1], (r['id'], s)


@pytest.mark.parametrize('size, cols, inches', [((3, 2), 1, 3.4), ((6, 4), 1, 3.4), ((6.4, 2), 2, 7), ((4, 2), 2, 7),
                                                ((10, 3), 5, 7)])
def test_two_widths_and_text_between_two_sizes(started, size, cols, inches):
    from matplotlib.text import Text
    from PIL import Image
    with C.figure('toy.law', of='fig-1', size=size, cols=cols) as fig:
        for ax in fig.axes:
            ax.plot([1, 2], [3, 4], label='of ours')
            ax.legend(fontsize=3)
            ax.set_title('a title of many words that no panel of this book has room for on a line', fontsize=20)
            ax.set_ylabel('$a b c d e f g h$ of one symbol and words beside it, far too many words')
    with Image.open(started / 'figures/toy.law.png') as picture:
        assert picture.width == round(200 * inches)
    assert {t.get_fontsize() for t in fig.findobj(Text)} <= {*range(7, 10), 7.5, 8.5}
    for ax in fig.axes:
        assert ax.get_title().count('\n') == ax.get_ylabel().count('\n') == 1
        assert '$a b c d e f g h$' in ax.get_ylabel()


def test_the_papers_curve_is_kept_beside_ours(started, monkeypatch):
    from types import ModuleType
    import deepstruct.book as book

    def draw(ax, record, **style):
        return ax.plot(record['x'], record['y'], gid='paper.fig-1.law', color='.5', **style)[0]

    curves = ModuleType('curves')
    curves.series, curves.draw = (
        lambda arxiv, place, name: dict(x=[1, 2], y=[3.0, np.nan], asked=(arxiv, place, name)),
        draw,
    )
    monkeypatch.setitem(sys.modules, 'deepstruct.book.curves', curves)
    monkeypatch.setattr(book, 'curves', curves, raising=False)
    for data in (None, dict(a=[1.0])):
        with C.figure('toy.law', of='fig-1', data=data) as fig:
            assert fig.paper(fig.axes[0], 'Fig. 1', 'law', lw=2).get_linewidth() == 2
        kept = np.load(started / 'figures/toy.law.npz')
        assert sorted(kept) == sorted(['paper.fig-1.law.x', 'paper.fig-1.law.y'] + ['a'] * bool(data)) and list(
            kept['paper.fig-1.law.x']
        ) == [1, 2]


@pytest.mark.parametrize('certainty, dates, status, why', [
    ('V', {}, 'reproduced', ''),
    ('V', {'verdict': 'holds at reduced scale'}, 'reproduced at reduced scale', ''),
    ('M', {}, 'not attempted', 'known from memory only'),
    ('V', {'tolerance_date': 'after'}, 'not attempted', 'set after the first look'),
    ('V', {'protocol_date': 'after'}, 'not attempted', 'set after the first look'),
])
def test_memory_and_hindsight_reproduce_nothing(certainty, dates, status, why):
    place = L.Place(id='fig-1', name='Fig. 1', shows='a law', certainty=certainty)
    row = {'id': 'a', 'verdict': 'holds', 'tolerance_date': 'before', 'protocol_date': 'before', 'got': 0.0}
    told = L._status(place, [row | {'expected': 'holds', 'preset': 'laptop'} | dates], [])
    assert told[0] == status and why in told[1]
    worse = row | {'id': 'b', 'verdict': 'differs', 'expected': 'differs', 'preset': 'laptop', 'why': '2 of 3'}
    assert L._status(place, [worse], [])[0] == 'differs'


def test_numbers_of_a_why_are_those_of_the_records():
    shown = dict(got={'side 16': .0577, 'z': -3.25}, null=36000., n=8000)
    kept = dict(laptop=dict(got=1.4142, null={'16': 2}), long=None)
    text = '{got[side 16]:.1%} of {null:,.0f} from {n:,.0f}; {got[z]:.1f}; at laptop {laptop.got:.2f}'
    assert L.why(text, shown, kept) == '5.8 % of 36,000 from 8,000; -3.2; at laptop 1.41'
    assert L.why('{laptop.null[16]} and no more', {}, kept) == '2 and no more'
    for text in ('{long.got:.2f}', '{paper.got}', '{got[side 32]:.1f}', '{spread:.1f}', '{laptop.got[a]}',
                 '{laptop.null:.1f}'):
        assert L.why(text, shown, kept) == L.ABSENT, text
    for text in ('{grot:.2f}', '{laptop.got:q}', '{got[side 16}', '{}', '{got:.2f'):
        with pytest.raises(ValueError, match='why'): L.why(text, shown, kept)


def test_what_a_why_names_is_recorded():
    for r in (*L.ledger(), *L.ledger(checks=True)):
        assert L.ABSENT not in r['why'] and not set('{}') & set(r['why']), r['id']
