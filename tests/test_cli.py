"""The command line's contract: what is printed and how wide, keys of the JSON, exit status, errors of one line."""
import ast
import json
import os
import re
import subprocess
import sys
import types
from types import SimpleNamespace as New

import pytest
from toy import project, write

from deepstruct.book import ledger as L
from deepstruct.book import runner as R
from deepstruct.book.cli import main

CLAIM = set('id paper arxiv of place statement kind nature paper_value known tolerance tolerance_from '
            'tolerance_date protocol_date null got n seeds spread note verdict expected why needs preset seconds '
            'device notebook stale carried check'.split())
FIGURE = set('id paper of place title notebook png preset seconds stale'.split())
PLACE = set('paper arxiv id place shows needs certainty status why rows figures'.split())
VERDICTS = ('holds', 'holds (reduced)', 'differs', 'passes', 'falls short', 'not run here')
LONG = 'a sentence of our own that is rather longer than any column of a table may become on a terminal'
ROW = '''
[[{kind}]]
id = "{id}"
of = "{of}"
statement = "{long}"
kind = "number"
nature = "measurement"
scale = "{scale}"
target = 0.0
tolerance = {{abs = 0.2}}
tolerance_from = "six standard errors"
tolerance_date = "before"
protocol_date = "before"
presets = ["laptop"]
expected = {{laptop = "{word}"}}
'''


def row(id, of, word='holds', scale='exact', kind='row', more=''):
    return ROW.format(id=id, of=of, word=word, scale=scale, kind=kind, long=LONG) + more + '\n'


def shelf_paper(home, chapter, name, head, places, rows):
    """A page with its file; of each place its id and name, of each row (id, keywords of `row`)."""
    body = f'[paper]\nname = "{name}"\ntitle = "On {name}: {LONG}"\n{head}'
    for id, printed in places:
        body += f'\n[[place]]\nid = "{id}"\nname = "{printed}"\nshows = "{LONG}"\ncertainty = "V"\n'
        if id == 'tab-7': body += 'needs = ["ImageNet"]\n'
    body += ''.join(row(f'{name}.{i}', **words) for i, words in rows)
    made = [('', f"claim('{name}.{i}', f, x, null=y)") for i, _ in rows]
    path = home / 'nbs' / chapter / f'paper_{name}.ipynb'
    write(path, [('parameters', "preset = 'laptop'\nseed = 0"), *made])
    path.with_suffix('.toml').write_text(body)


def recorded(id, got, **words):
    page = id.split('.')[0]
    chapter = 'phase_collapse' if page == 'separation_concentration' else 'log_concavity'
    return dict(id=id, got=got, null=3.25, n=1000, seeds=[0, 1], spread=.01234, note='of a note', preset='laptop',
                seed=0, paper=page, notebook=f'nbs/{chapter}/paper_{page}.ipynb', seconds=1.5, device='cpu',
                key='old') | words


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A checkout of three papers and four pages, with what was recorded at laptop."""
    home = project((tmp_path / 'checkout').resolve())
    full = 'authors = "A. Author"\nvenue = "V"\narxiv = "{}"\nread = "the whole text"\n'.format
    shelf_paper(home, 'log_concavity', 'cslc', full('2306.00181'),
                [('fig-5', 'Fig. 5'), ('fig-4-left', 'Fig. 4 left'), ('fig-4-right', 'Fig. 4 right'),
                 ('fig-9', 'Fig. 9'), ('fig-10', 'Fig. 10 upper left and lower right'), ('tab-7', 'Table 7'),
                 ('thm-2-1', 'Theorem 2.1')],
                [('mixing', dict(of='fig-5', more='paper_value = 0.35\nknown = "stated in the text, p. 8"')),
                 ('levels', dict(of='fig-4-left', scale='reduced')), ('levels_by_nobody', dict(of='fig-4-right')),
                 ('off', dict(of='fig-10', word='differs', more='why = "it is 3 % off, for a reason"')),
                 ('unexpected', dict(of='beyond')),
                 ('speed', dict(of='fig-9', kind='check', word='passes'))])
    shelf_paper(home, 'log_concavity', 'packets', 'about = "cslc"\n', [], [('octave', dict(of='thm-2-1'))])
    shelf_paper(home, 'phase_collapse', 'separation_concentration', full('2012.10424'),
                [('fig-5', 'Fig. 5'), ('fig-1', 'Fig. 1')],
                [('concentrates_a_lot', dict(of='fig-5', scale='reduced')), ('projections', dict(of='beyond'))])
    many = {f'L={i} of the part with a long name': .01 * i for i in range(9)}
    rows = [recorded('cslc.mixing', .0123456), recorded('cslc.levels', many, spread=None), recorded('cslc.off', 1.5),
            recorded('cslc.unexpected', 2.5), recorded('cslc.speed', .1), recorded('packets.octave', .1),
            *(recorded(f'separation_concentration.{x}', .1) for x in ('concentrates_a_lot', 'projections'))]
    from deepstruct.book.keys import page_keys
    monkeypatch.setenv('DEEPSTRUCT_ROOT', str(home))
    rows[0]['key'] = page_keys(home / rows[0]['notebook'])['cslc.mixing']
    for preset in ('laptop', 'smoke'):
        (home / 'data/results' / preset).mkdir(parents=True)
        (home / 'data/results' / preset / 'claims.json').write_text(json.dumps([r | dict(preset=preset) for r in rows]))
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(home / '.cache'))
    for name in ('DEEPSTRUCT_OUT', 'DEEPSTRUCT_DATA', 'NO_COLOR', 'FORCE_COLOR'):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture
def ask(capsys, monkeypatch):
    """Calls a command at a width; gives status, lines of stdout, lines of stderr."""
    def call(*words, width=80):
        monkeypatch.setenv('COLUMNS', str(width))
        capsys.readouterr()
        status = main([str(w) for w in words])
        told = capsys.readouterr()
        return New(status=status, out=told.out.splitlines(), err=told.err.splitlines(), text=told.out)
    return call


def ids(ask, *words): return [r['id'].split('.', 1)[1] for r in json.loads(ask('claims', '--json', *words).text)]


def body(lines): # of the table of rows
    start = next(i for i, x in enumerate(lines) if x.startswith('claim '))
    end = next((i for i, x in enumerate(lines) if i > start and x[:2] in ('! ', '~ ', '* ')), len(lines))
    return lines[start + 1:end]


# what is printed

@pytest.mark.parametrize('width', [60, 80, 200])
def test_a_row_is_a_line(shelf, ask, width):
    told = ask('claims', width=width)
    assert told.status == 0 and max(map(len, told.out)) <= width and not any(x != x.rstrip() for x in told.out)
    rows = body(told.out)
    assert len(rows) == len(L.ledger()) == 9 and '' not in rows
    words = VERDICTS if width < 120 else [v.replace('(reduced)', 'at reduced scale') for v in VERDICTS]
    for r, line in zip(L.ledger(), rows):
        own = r['id'].split('.')[1]
        assert own in line and (r['id'] in line or width < 120)
        at = [w for w in words if re.search(rf'(?<!\w){re.escape(w)}( |$)', line)]
        assert max(at, key=len).replace('(reduced)', 'at reduced scale') == r['verdict']


def test_wide_tells_more(shelf, ask):
    wide, narrow = ask('claims', width=200).text, ask('claims').text
    for word in ('tolerance', 'preset', '0 ± 0.2', '3.25', 'holds at reduced scale'): assert word in wide
    assert 'tolerance' not in narrow and '0.35' in narrow and '…' in narrow


def test_summary_stands_first_and_counts(shelf, ask):
    out = ask('claims').out
    head, cslc, last = (next(x for x in out if x.startswith(w)) for w in ('paper ', 'cslc ', 'all '))
    assert out[0] == head and head.split() == 'paper arXiv places exact reduced differs needs not attempted'.split()
    want = L.counts(L.places())['cslc']
    assert cslc.split() == ['cslc', '2306.00181', '7', *(str(n) for n in want.values())] and sum(want.values()) == 7
    assert cslc.split()[3:] == ['2', '1', '1', '1', '2'] and last.split()[1] == '12'
    said = ' '.join(out[:out.index(next(x for x in out if x.startswith('claim ')))])
    for words in ('rows 9 · differs 2 · holds 3 · holds at reduced scale 2 · not run here 2 · stale 6',
                  'checks 1 · passes 1 · stale 1'):
        assert words in said


def test_marks(shelf, ask):
    out = ask('claims').out
    mark = lambda own: next(x for x in body(out) if f'.{own} ' in x).split()[-1]
    assert '~' not in mark('mixing') and mark('off') == '~' and mark('unexpected') == '!~'
    assert mark('levels_by_nobody') == '!'
    assert out[-2:] == ['! not the expected verdict', '~ stale: its code has changed']
    assert ask('claims', 'Fig. 5').out[-1] == '~ stale: its code has changed'


def test_checks(shelf, ask):
    told = ask('claims', '--checks')
    assert len(body(told.out)) == 1 and 'passes' in body(told.out)[0] and 'places' not in told.text
    assert [r['id'] for r in json.loads(ask('claims', '--checks', '--json').text)] == ['cslc.speed']
    assert ids(ask, 'cslc.speed') == ['speed'] # an id finds a check too


CSLC = 'mixing levels levels_by_nobody off unexpected'


@pytest.mark.parametrize('targets, want', [
    (['cslc'], CSLC + ' octave'), (['paper_cslc'], CSLC), (['packets'], 'octave'), (['2306.00181'], CSLC + ' octave'),
    (['arXiv:2306.00181v2'], CSLC + ' octave'), (['log_concavity'], CSLC + ' octave'),
    (['phase_collapse'], 'concentrates_a_lot projections'), (['Fig. 5'], 'mixing concentrates_a_lot'),
    (['fig-5'], 'mixing concentrates_a_lot'), (['figure 5'], 'mixing concentrates_a_lot'), (['Theorem 2.1'], 'octave'),
    (['2306.00181 Fig. 5'], 'mixing'), (['CSLC  fig. 5'], 'mixing'), (['cslc fig-5'], 'mixing'),
    (['Fig. 4'], 'levels levels_by_nobody'), (['Fig. 4 left'], 'levels'), (['cslc.mixing'], 'mixing'),
    (['cslc beyond'], 'unexpected'), (['beyond'], 'unexpected projections'),
    (['cslc.mixing', 'packets'], 'mixing octave')])
def test_filters(shelf, ask, targets, want):
    assert ids(ask, *targets) == want.split()
    if len(want.split()) > 1: assert len(body(ask('claims', *targets).out)) == len(want.split())


@pytest.mark.parametrize('target, near', [
    ('2306.00181 Fig. 99', '2306.00181 Fig. 9'), ('cslk', 'cslc'), ('cslc.mixng', 'cslc.mixing'),
    ('', 'deepstruct list'), ('2306.00182', '2306.00181'), ('zzzzz', 'deepstruct list'), ('Fig. 1 0', 'Fig. 1'),
    ('Theorem 2.11', 'Theorem 2.1'), ('Theorem 2', 'Theorem 2.1')])
@pytest.mark.parametrize('command', ['claims', 'list'])
def test_unknown_targets_name_the_near_ones(shelf, ask, command, target, near):
    told = ask(command, target)
    assert told.status == 2 and not told.out and len(told.err) == 1
    assert near in told.err[0] and repr(target) in told.err[0]


def test_a_place_without_rows_says_why(shelf, ask):
    told = ask('claims', '2306.00181 Table 7')
    assert told.status == 0 and 'needs data or a GPU' in told.text and 'claim ' not in told.text


@pytest.mark.parametrize('width', [80, 200])
def test_one_id_in_full(shelf, ask, width):
    told = ask('claims', 'cslc.levels', width=width)
    flat = ' '.join(told.text.split())
    assert max(map(len, told.out)) <= width and LONG in flat and '…' not in flat
    for word in ('L=8 of the part with a long name: 0.08', '3.25', '1000', '2306.00181', 'holds at reduced scale',
                 'six standard errors', 'nbs/log_concavity/paper_cslc.ipynb', '0 ± 0.2', 'of a note', 'laptop'):
        assert word in flat, word
    assert 'stated in the text, p. 8' in ask('claims', 'cslc.mixing').text


def test_list(shelf, ask):
    for width in (80, 200):
        told = ask('list', width=width)
        assert told.status == 0 and max(map(len, told.out)) <= width
        assert sum(bool(re.match(r'(Fig|Tab|The)', x)) for x in told.out) == 12 # a line a place
    at = [i for i, x in enumerate(told.out) if x.startswith('cslc · 2306.00181 · On cslc')]
    assert len(at) == 1 and told.out[at[0] + 1] == 'nbs/log_concavity/paper_cslc.ipynb: 5 figures and claims'
    status = {x.split('  ')[0]: x for x in told.out[at[0]:at[0] + 9]}
    assert 'reproduced at reduced scale' in status['Fig. 4 left'] and 'needs data or a GPU' in status['Table 7']
    assert [x.split(' · ')[0] for x in ask('list', 'phase_collapse').out if ' · ' in x] == ['separation_concentration']


# JSON

def test_json_as_contracted(shelf, ask):
    told = json.loads(ask('list', '--json').text)
    assert list(told) == ['places', 'figures', 'claims'] and told['figures']
    for key, want in (('places', PLACE), ('figures', FIGURE), ('claims', CLAIM)):
        for x in told[key]: assert set(x) == want, key
    rows = json.loads(ask('claims', '--json').text)
    assert rows == told['claims'] == json.loads(json.dumps(L.ledger()))
    for f in told['figures']:
        assert (shelf / f['notebook']).is_file() and (f['png'] is None or (shelf / f['png']).is_file())
    assert [set(x) for x in json.loads(ask('claims', 'cslc.speed', '--json').text)] == [CLAIM]


def test_preset_and_out(toy, capsys):
    from deepstruct.book import claims as C
    C.start('toy', 'nbs/toy/paper_toy.ipynb', preset='laptop', out=toy / 'mine')
    C.claim('toy.mean', lambda x: x, .01, null=1., n=3, seeds=[0, 1], spread=.1)
    capsys.readouterr()
    rows = lambda *words: (main(['claims', '--json', *words]), json.loads(capsys.readouterr().out))[1][0]
    ours = rows('--out', str(toy / 'mine'))
    want = dict(verdict='holds', expected='holds', preset='laptop', got=.01, null=1., n=3)
    assert {k: ours[k] for k in want} == want
    assert rows('--out', str(toy / 'mine'), '--preset', 'long')['verdict'] == rows()['verdict'] == 'not run here'


# smoke

def no_verdict(text): return not re.search('holds|differs|passes|falls short|not run here|reproduced', text)


def test_smoke_is_not_judged(shelf, ask):
    for words in (['claims', '--preset', 'smoke'], ['claims', 'cslc', '--preset', 'smoke']):
        told = ask(*words)
        assert told.status == 0 and len(told.out) == 1
        assert told.text.count('not judged at smoke') == 1 and no_verdict(told.text)
    assert ask('claims', '--preset', 'smoke').out == ['7 made, not judged at smoke']
    one = ask('claims', 'cslc.mixing', '--preset', 'smoke').text
    assert 'not judged at smoke' in one and not re.search(r'verdict +(holds|not run)', one)


def test_smoke_in_a_runs_folder(shelf, ask):
    (shelf / 'mine/claims').mkdir(parents=True)
    (shelf / 'mine/claims/cslc.mixing.json').write_text(json.dumps(recorded('cslc.mixing', .1, preset='smoke')))
    assert ask('claims', '--out', shelf / 'mine').out == ['1 made, not judged at smoke']


# reproduce

@pytest.fixture
def runs(shelf, monkeypatch):
    """In place of the runner: leaves the records that are handed over and says how the pages ended."""
    def prepare(records, preset='laptop', ids=(), status='ran', error=''):
        def run(targets, at, jobs, force, record_it, out):
            assert at == preset
            folder = (shelf / 'out' / preset / 'claims')
            folder.mkdir(parents=True)
            for r in records: (folder / f'{r["id"]}.json').write_text(json.dumps(r | dict(preset=preset)))
            page = next(p for p in R.pages() if p.name == 'paper_cslc')
            return [dict(page=page, ids=tuple(ids), status=status, seconds=1., error=error)]
        monkeypatch.setattr(R, 'run', run)
    return prepare


GOOD = [('cslc.mixing', .01), ('cslc.levels', .01), ('cslc.off', 1.5), ('cslc.levels_by_nobody', .0),
        ('cslc.speed', .1),
        ('cslc.unexpected', .1)]


def test_reproduce_all_as_expected(runs, ask):
    runs([recorded(*x) for x in GOOD])
    told = ask('reproduce', 'paper_cslc')
    assert told.status == 0 and not told.err and len(body(told.out[:-2])) == 6
    assert told.out[-1] == f'1 ran · 0 figures in {os.environ["DEEPSTRUCT_ROOT"]}/out/laptop/figures'


def test_reproduce_prints_only_what_was_asked(runs, ask):
    runs([recorded(*x) for x in GOOD[:3]], ids=['cslc.mixing'])
    told = ask('reproduce', 'cslc.mixing')
    assert told.status == 0 and len([x for x in told.out if 'cslc.' in x]) == 1


@pytest.mark.parametrize('change, says', [
    (dict(drop='cslc.mixing'), 'cslc.mixing: no cell made it; expected: holds'),
    (dict(drop='cslc.speed'), 'cslc.speed: no cell made it'),
    (dict(set=('cslc.mixing', 9.)), 'cslc.mixing: differs; expected: holds'),
    (dict(set=('cslc.off', .0)), 'cslc.off: holds; expected: differs'),
    (dict(set=('cslc.speed', 9.)), 'cslc.speed: falls short; expected: passes')])
def test_reproduce_is_red(runs, ask, change, says):
    made = dict(GOOD)
    made.pop(change.get('drop'), None)
    made.update([change['set']] if 'set' in change else [])
    runs([recorded(*x) for x in made.items()])
    told = ask('reproduce', 'paper_cslc')
    assert told.status == 1 and len(told.err) == 1 and says in told.err[0]


def test_reproduce_of_a_page_that_fails(runs, ask):
    runs([recorded(*x) for x in GOOD], status='failed', error='ValueError: no (cell 3)')
    told = ask('reproduce')
    assert told.status == 1 and told.err == ['deepstruct: log_concavity/paper_cslc failed: ValueError: no (cell 3)']


def test_reproduce_at_smoke_prints_counts(runs, ask):
    runs([recorded(*x) for x in GOOD], preset='smoke')
    told = ask('reproduce', '--preset', 'smoke')
    assert told.status == 0 and told.text.count('not judged at smoke') == 1 and '6 made' in told.text
    assert no_verdict(told.text) and 'cslc.' not in told.text


# claim new

@pytest.mark.parametrize('words, of', [
    ((), 'beyond'), (('--of', 'Fig. 5'), 'fig-5'), (('--of', 'fig-4-left'), 'fig-4-left'),
    (('--of', 'separation_concentration:fig-1'), 'separation_concentration:fig-1')])
@pytest.mark.parametrize('page', ['cslc', 'packets'])
def test_claim_new(shelf, ask, words, of, page):
    before = set(L.load().rows)
    told = ask('claim', 'new', f'{page}.fresh', *words)
    assert told.status == 0 and not told.err
    made = L.load().rows[f'{page}.fresh']
    assert set(L.load().rows) - before == {f'{page}.fresh'}
    assert made.of == of and not made.check and made.expected == {'laptop': 'holds'}
    cell = ast.parse('\n'.join(told.out[2:])).body[0].value
    assert cell.func.id == 'claim' and cell.args[0].value == f'{page}.fresh'
    assert 'null' in {k.arg for k in cell.keywords}
    again = (shelf / f'nbs/log_concavity/paper_{page}.toml').read_text()
    refused = ask('claim', 'new', f'{page}.fresh')
    assert refused.status == 2 and 'exists' in refused.err[0]
    assert (shelf / f'nbs/log_concavity/paper_{page}.toml').read_text() == again


def test_claim_new_check(shelf, ask):
    assert ask('claim', 'new', 'cslc.quick', '--check').status == 0
    assert L.load().rows['cslc.quick'].check and L.load().rows['cslc.quick'].expected == {'laptop': 'passes'}
    assert ids(ask, '--checks') == ['speed', 'quick']


@pytest.mark.parametrize('words, says', [
    (['nopage.x'], "no page 'nopage'; expected one of"), (['cslc.mixing'], 'exists'), (['cslc'], 'cslc.mixing'),
    (['cslc.a b'], 'no id'), (['../cslc.x'], 'no id'), (["cslc.x'"], 'no id'),
    (['cslc.x', '--of', 'Fig. 55'], 'near: fig-5'), (['cslc.x', '--of', 'nowhere:fig-1'], 'does not exist')])
def test_claim_new_refuses(shelf, ask, words, says):
    before = {p: p.read_text() for p in shelf.rglob('*.toml')}
    told = ask('claim', 'new', *words)
    assert told.status == 2 and len(told.err) == 1 and says in told.err[0]
    assert {p: p.read_text() for p in shelf.rglob('*.toml')} == before


# data

def test_data_list(ask, monkeypatch, tmp_path):
    monkeypatch.setenv('DEEPSTRUCT_CACHE', str(tmp_path / 'none'))
    monkeypatch.delenv('DEEPSTRUCT_DATA', raising=False)
    told, sets = ask('data', 'list'), {r['name']: r for r in json.loads(ask('data', 'list', '--json').text)}
    assert told.status == 0 and max(map(len, told.out)) <= 80
    for name in ('fashion-mnist', 'berkeley', 'cifar10', 'celeba-hq', 'denoisers-flat'):
        assert name in told.text and sets[name]['get']
    assert 'cs.toronto.edu' in told.text and sets['fashion-mnist-15k']['where'] and not sets['cifar10']['where']
    for what, name in (('get', 'berkeley'), ('get', 'cifar10'), ('where', 'celeba-hq'), ('where', 'berkeley')):
        no = ask('data', what, name)
        assert no.status == 2 and len(no.err) == 1
        assert 'https://' in no.err[0] and f'$DEEPSTRUCT_DATA/{name}' in no.err[0]
    says = ask('data', 'where', 'fashion-mnist').err[0]
    assert says.endswith('is not here; get it: deepstruct data get fashion-mnist')
    for what in ('get', 'where'): assert 'cifar10' in ask('data', what, 'mnist').err[0]
    assert not (tmp_path / 'none').exists() # looking creates nothing


def test_looking_creates_nothing(shelf, ask):
    before = sorted(shelf.rglob('*'))
    for words in ('list', 'claims', 'claims cslc.mixing', 'list --json', 'data list --json', 'data where photographs'):
        ask(*words.split())
    assert sorted(shelf.rglob('*')) == before


def test_data_where_finds(ask, monkeypatch, tmp_path):
    (tmp_path / 'cifar10/test').mkdir(parents=True)
    monkeypatch.setenv('DEEPSTRUCT_DATA', str(tmp_path))
    for what in ('where', 'get'): assert ask('data', what, 'cifar10').out == [str(tmp_path / 'cifar10')]


# commands, errors, streams

@pytest.mark.parametrize('words, says', [
    ('', 'required'), ('plot', 'plot'), ('claims --preset huge', 'expected one of smoke'), ('data', 'required'),
    ('list --out no/folder', 'no folder'), ('reproduce cslc.nothing', 'nothing is called'), ('claim', 'required'),
    ('reproduce --preset huge', 'huge'), ('reproduce --jobs 0', 'at least 1'), ('reproduce --jobs x', 'invalid int'),
    ('data get no_such_data', 'no_such_data'), ('carry', 'required')])
def test_errors_are_one_line(shelf, ask, words, says):
    told = ask(*words.split())
    assert told.status == 2 and not told.out and len(told.err) == 1
    assert told.err[0].startswith('deepstruct: ') and says in told.err[0]


def test_a_file_with_faults_names_them_all(shelf, ask):
    path = shelf / 'nbs/log_concavity/paper_cslc.toml'
    text = path.read_text().replace('kind = "number"', 'kind = "numbr"', 1).replace('of = "fig-5"', 'of = "fig-55"', 1)
    text = text.replace('scale = "reduced"', 'scale = "small"', 1)
    path.write_text(text.replace('presets = ["laptop"]', 'presets = ["lap"]', 1))
    told = ask('claims')
    assert told.status == 2 and not told.out and len(told.err) >= 4
    assert all(x.startswith('deepstruct: ') for x in told.err)
    for word in ('numbr', 'fig-55', 'small', 'lap'): assert any(word in x for x in told.err), word


def test_an_error_without_a_message_says_something(ask, monkeypatch):
    monkeypatch.setattr(R, 'run', lambda *a: (_ for _ in ()).throw(RuntimeError()))
    assert ask('reproduce').err == ['deepstruct: RuntimeError()']


def test_stopped(ask, monkeypatch):
    def stop(*a): raise KeyboardInterrupt
    monkeypatch.setattr(R, 'run', stop)
    told = ask('reproduce')
    assert told.status == 130 and len(told.err) == 1


def test_carry(ask, monkeypatch):
    asked, module = [], types.ModuleType('deepstruct.book.carry')
    module.carry = lambda rev, targets=(), trust=(), record=True: asked.append((rev, list(targets), record)) or 1
    monkeypatch.setitem(sys.modules, 'deepstruct.book.carry', module)
    assert ask('carry', 'abc').status == 1 and ask('carry', 'abc', 'cslc', '--dry-run').status == 1
    assert asked == [('abc', [], True), ('abc', ['cslc'], False)]


def process(*words, home=None, out=subprocess.PIPE, **env):
    drop = ('NO_COLOR', 'FORCE_COLOR', 'PYTHONUTF8', 'PYTHONIOENCODING', 'PYTHONUNBUFFERED', 'TERM', 'COLUMNS')
    env = {k: v for k, v in os.environ.items() if k not in drop} | dict(TERM='xterm-256color', COLUMNS='80') | env
    if home: env['DEEPSTRUCT_ROOT'] = str(home)
    command = [sys.executable, '-m', 'deepstruct', *words]
    return subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=env, timeout=120)


def test_python_m_and_version(root):
    import deepstruct
    done = process('--version')
    assert done.returncode == 0 and done.stdout.decode().split() == ['deepstruct', deepstruct.__version__]
    assert process('claims', '--preset', 'huge').returncode == 2
    assert (root / 'deepstruct/__main__.py').is_file()


def on_terminal(*words, **env):
    ours, theirs = os.openpty()
    try: done = process(*words, out=theirs, **env)
    finally: os.close(theirs)
    text = b''
    try:
        while piece := os.read(ours, 65536): text += piece
    except OSError: pass # the end of a terminal
    os.close(ours)
    return done.returncode, text.decode()


def test_colour_on_terminals_only(shelf):
    colour = re.compile('\x1b\\[[0-9;]*3[0-9]')
    status, told = on_terminal('claims', 'cslc', home=shelf)
    assert status == 0 and colour.search(told) and '\x1b[32mholds' in told and '\x1b[33mdiffers' in told
    assert '\x1b[1;31mdiffers' in told # not the expected verdict
    assert not colour.search(on_terminal('claims', 'cslc', home=shelf, NO_COLOR='1')[1])
    piped = process('claims', 'cslc', home=shelf)
    assert piped.returncode == 0 and b'\x1b' not in piped.stdout
    strip = lambda s: [x.rstrip() for x in re.sub('\x1b\\[[0-9;]*m', '', s).replace('\r', '').splitlines()]
    assert strip(told) == strip(piped.stdout.decode())


@pytest.mark.parametrize('encoding', ['ascii', 'cp1252'])
def test_poor_pipes(shelf, encoding):
    path = shelf / 'nbs/log_concavity/paper_cslc.toml'
    path.write_text(path.read_text().replace('it is 3 % off', 'it is 3 % off for Stéphane and ∇', 1), encoding='utf-8')
    for words in (['claims'], ['list'], ['claims', 'cslc.off'], ['claims', 'nothing of ∇']):
        done = process(*words, home=shelf, PYTHONIOENCODING=encoding, PYTHONUTF8='0')
        assert done.returncode == (2 if words[-1].startswith('nothing') else 0) and b'Traceback' not in done.stderr
    told = process('claims', '--json', home=shelf, PYTHONIOENCODING=encoding, PYTHONUTF8='0').stdout.decode(encoding)
    assert any('Stéphane and ∇' in r['why'] for r in json.loads(told))


def test_a_pipe_that_is_closed(shelf):
    for words in (['claims', '--json'], ['list']):
        read, written = os.pipe()
        os.close(read)
        try: done = process(*words, home=shelf, out=written)
        finally: os.close(written)
        assert done.returncode == 0 and not done.stderr


def test_reading_loads_neither_torch_nor_matplotlib_and_is_quick(shelf):
    code = ("import sys, time; from deepstruct.book.cli import main; main(['claims']); main(['list']); "
            "sys.exit(bool({'torch', 'matplotlib', 'numpy'} & set(sys.modules)) + 2 * (time.process_time() > 2))")
    assert subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL).returncode == 0


# this checkout

def test_what_is_recorded_is_what_is_expected():
    for preset in (None, *L.PRESETS): assert not L.failures([r for r in L.ledger(preset) if r['got'] is not None])


def test_this_book_at_80_columns(ask):
    if not list((L.project() / 'nbs').rglob('paper_*.toml')): pytest.skip('no papers yet')
    for words in (['claims'], ['claims', '--checks'], ['list']):
        told = ask(*words)
        assert told.status == 0 and max(map(len, told.out)) <= 80
        if words[0] == 'claims': assert len(body(told.out)) == len(L.ledger(checks='--checks' in words))
    assert json.loads(ask('list', '--json').text)['places']


def test_select_keeps_lists_apart(shelf):
    rows, places = L.select(['Fig. 5'], L.ledger(), L.places())
    assert {r['id'] for r in rows} == {'cslc.mixing', 'separation_concentration.concentrates_a_lot'}
    assert [(p['paper'], p['id']) for p in places] == [('cslc', 'fig-5'), ('separation_concentration', 'fig-5')]
    assert L.select([], [1], [2]) == [[1], [2]]


@pytest.mark.parametrize('target, found', [
    ('2306.00181 Fig. 1', False), ('packets Fig. 1', False), ('log_concavity Fig. 1', False), ('Fig. 1', True),
    ('2012.10424 Fig. 1', True), ('separation_concentration fig-1', True), ('2306.00181', True), ('packets', True)])
def test_a_place_of_another_paper_is_not_the_pages_own(shelf, target, found):
    """A row of packets, a page about cslc, that is of a figure of the third paper."""
    path = shelf / 'nbs/log_concavity/paper_packets.toml'
    path.write_text(path.read_text() + row('packets.far', 'separation_concentration:fig-1'))
    try: rows, _ = L.select([target], L.ledger(), L.places())
    except ValueError: rows = []
    assert ('packets.far' in {r['id'] for r in rows}) is found


def test_the_library_stands_without_nbdev(root):
    for path in (root / 'deepstruct').rglob('*.py'):
        text = path.read_text()
        if path.name != 'site.py': assert not re.search('(import|from) nbdev|fastcore', text), path
