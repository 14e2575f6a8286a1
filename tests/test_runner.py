"""The runner: targets, what counts as run, kernels that are this Python's, how runs end. These pages load no torch."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import toy as T

import deepstruct
from deepstruct.book import runner as R

PLACE = '\n[[place]]\nid = "{}"\nname = "{}"\nshows = "A thing."\ncertainty = "V"\n'
COMPANION = '[paper]\nname = "more"\ntitle = "More of it"\nabout = "toy"\n'
OTHER = (T.HEAD.split('[[place]]')[0].replace('"toy"', '"other"').replace('2601.00001', '2602.00002')
         + PLACE.format('fig-2', 'Fig. 2'))
OWN = """import os
def note(word):
    with open(os.environ['DEEPSTRUCT_ROOT'] + '/log', 'a') as f: f.write(f'{word} ')
def claim(id, got): note(f'{id}={got}')"""


def page(root, name, *sources, folder='foundations', toml=None):
    """A page of plain cells, which are named c0, c1, ...; with a toml it is a paper's."""
    cells = [('parameters' if s.startswith('preset =') else '', s) for s in sources]
    T.write(root / f'nbs/{folder}/{name}.ipynb', cells)
    if toml: (root / f'nbs/{folder}/{name}.toml').write_text(toml)


def row(id, of='fig-1'): return T.ROW.replace('toy.mean', id).replace('"fig-1"', f'"{of}"')


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """A checkout without pages."""
    root = tmp_path.resolve() / 'checkout'
    (root / 'nbs').mkdir(parents=True)
    (root / 'settings.ini').write_text('[DEFAULT]\nlib_name = deepstruct\n')
    for k, v in dict(DEEPSTRUCT_ROOT=root, DEEPSTRUCT_CACHE=root / '.cache').items(): monkeypatch.setenv(k, str(v))
    return root


@pytest.fixture
def papers(mini):
    """Two papers and a further page of one of them."""
    halves = ('fig-4-left', 'Fig. 4 left'), ('fig-4-right', 'Fig. 4 right'), ('thm-2-1', 'Theorem 2.1')
    places = ''.join(PLACE.format(*p) for p in halves)
    page(mini, 'paper_toy', "preset = 'smoke'", OWN, "claim('toy.a', 1)",
         "with figure('toy.f', 'A', of='fig-1') as f: pass", "claim('toy.b', 2)",
         folder='toys', toml=T.HEAD + places + row('toy.a') + row('toy.b', 'fig-4-left'))
    page(mini, 'paper_more', "preset = 'smoke'", "claim('more.a', 1)",
         "figure('more.f', 'A', of='other:fig-2')", "claim('more.b', 1)",
         folder='toys', toml=COMPANION + row('more.a') + row('more.b', 'beyond'))
    page(mini, 'paper_other', "preset = 'smoke'", folder='others', toml=OTHER + row('other.x', 'beyond'))
    page(mini, '00_plain', '1 + 1')
    return mini


def chosen(*targets): return {p.key: ids for p, ids in R.select(targets, R.pages())}


@pytest.mark.parametrize('target, keys', [
    ('toys', {'toys/paper_toy', 'toys/paper_more'}), ('more', {'toys/paper_more'}), ('paper_more', {'toys/paper_more'}),
    ('plain', {'foundations/00_plain'}), ('toys/paper_toy', {'toys/paper_toy'}),
    ('nbs/toys/paper_toy.ipynb', {'toys/paper_toy'}),
    *[(t, {'toys/paper_toy', 'toys/paper_more'}) for t in (
        '2601.00001', 'arXiv:2601.00001', 'arxiv: 2601.00001v3', 'https://arxiv.org/abs/2601.00001',
        'https://arxiv.org/pdf/2601.00001v2.pdf')]])
def test_whole_pages(papers, target, keys):
    assert chosen(target) == dict.fromkeys(keys, ())


def test_whole_pages_by_path_and_without_a_target(papers, monkeypatch):
    monkeypatch.chdir(papers / 'nbs/toys')
    assert set(chosen('paper_toy.ipynb')) == set(chosen(str(papers / 'nbs/toys/paper_toy.ipynb'))) == {'toys/paper_toy'}
    assert list(chosen()) == ['foundations/00_plain', 'others/paper_other', 'toys/paper_more', 'toys/paper_toy']
    assert chosen('2602.00002') == {'others/paper_other': (), 'toys/paper_more': ('more.f',)} # what refers to it too


FIG1 = {'toys/paper_toy': ('toy.f', 'toy.a'), 'toys/paper_more': ('more.a',)}


@pytest.mark.parametrize('target, wanted', [
    *[(t, FIG1) for t in ('2601.00001 Fig. 1', '2601.00001 fig-1', 'toy fig-1', 'toy figure 1', 'toy Fig 1',
                          'toy:fig-1', 'Fig. 1', 'arXiv:2601.00001v1 FIG.1')],
    ('toy.f', {'toys/paper_toy': ('toy.f',)}), ('more.b', {'toys/paper_more': ('more.b',)}),
    ('other Fig. 2', {'toys/paper_more': ('more.f',)}), ('toy Fig. 4', {'toys/paper_toy': ('toy.b',)}),
    ('toy Fig. 4 (left)', {'toys/paper_toy': ('toy.b',)}), ('figure 4 left', {'toys/paper_toy': ('toy.b',)})])
def test_figures_claims_and_places(papers, target, wanted):
    assert {k: set(v) for k, v in chosen(target).items()} == {k: set(v) for k, v in wanted.items()}


@pytest.mark.parametrize('target, says', [
    ('2601.00001 Fig. 99', ['nothing is called', '2601.00001 Fig. 1', 'Fig. 4']),
    ('toy thm 2', ['near: ', 'toy thm-2-1']), ('toy Zebra', ['near: toy']),
    ('toy Table 3', ['nothing is called', 'near: ']),
    ('2601.00001 Fig. 2', ['toy Fig. 2 is answered by no', 'needs data or a GPU', 'ImageNet']),
    ('toy Fig. 4 right', ['not attempted', 'no row answers it yet']),
    ('Theorem 2.1', ['toy Theorem 2.1', 'not attempted']), ('Fig. 2', ['other, toy', "'other Fig. 2'"]),
    ('Fig. 99', ['nothing is called', "'cslc Fig. 5'"]), ('toy.aa', ['near: toy.a']),
    ('2601.00003', ['near: ', '2601.00001']), ('2601.00003 Fig. 1', ['nothing is called']),
    ('', ['nothing']), (' : ', ['nothing']), ('other beyond', ['no page makes other.x'])])
def test_targets_that_nothing_answers(papers, target, says):
    with pytest.raises(ValueError) as e: chosen(target)
    assert '\n' not in str(e.value) and all(s in str(e.value) for s in says), str(e.value)


# What runs: the page from the top, and nothing below

@pytest.mark.parametrize('ids, log', [
    (['m.a'], 'm.a=[1, 2, 3, 0] '), (['m.b'], 'm.a=[1, 2, 3, 0] m.b=9 '),
    (['m.a', 'm.b'], 'm.a=[1, 2, 3, 0] m.b=9 '), ([], 'm.a=[1, 2, 3, 0] m.b=9 end ')])
def test_a_target_runs_its_page_from_the_top(mini, ids, log):
    page(mini, 'paper_m', "preset = 'laptop'", OWN, "x = [1, 2]", "def bump(v): v.append(3)\nbump(x)",
         "import heapq; heapq.heappush(x, 0); x.sort(key=lambda v: v or 9)",
         "claim('m.a', x)", "x = None", "if 'm.b': claim('m.b', 9)", "note('end')", folder='toys',
         toml=T.HEAD.replace('"toy"', '"m"') + row('m.a') + row('m.b'))
    done, = R.run(ids, 'smoke')
    assert done['status'] == 'ran' and (mini / 'log').read_text() == log and done['claims'] == (ids or ['m.a', 'm.b'])


def test_a_page_whose_data_have_changed_is_not_fresh(mini):
    """Read in a cell, in a stage, by numpy; a folder's names; a file that was looked for."""
    names = 'a.txt', 'b.txt', 'c.txt', 'many/d.txt', 'e.txt'
    for name in names[:4]:
        (mini / name).parent.mkdir(exist_ok=True)
        (mini / name).write_text('0.01')
    page(mini, 'paper_toy', "preset = 'laptop'\nseed = 0", "import os\nimport numpy as np\n"
         "from deepstruct.core import cached, reads\nfrom deepstruct.book.claims import claim, start\n"
         "start('toy', 'nbs/toys/paper_toy.ipynb', preset=preset)\nroot = os.environ['DEEPSTRUCT_ROOT']",
         "@cached\ndef f(): return open(root + '/b.txt').read()",
         "x = float(open(root + '/a.txt').read()), f(), np.loadtxt(root + '/c.txt'), os.listdir(root + '/many')\n"
         "reads(root + '/e.txt')", "claim('toy.a', lambda v: v, x[0], null=5.)", folder='toys',
         toml=T.HEAD + row('toy.a'))
    for again in range(2): # from nothing, and where the stage is kept
        done, = R.run(['toy'], 'smoke', out=mini / f'out{again}')
        assert done['status'] == 'ran', done['error']
        fresh = lambda: R.is_fresh(done['page'], mini / f'out{again}', 'smoke')
        assert fresh()
        for name in names:
            path, new = mini / name, mini / 'many/new'
            before = path.read_bytes() if path.exists() else None
            (new if 'many' in name else path).write_text('0.02')
            assert not fresh(), name
            if before is None: path.unlink()
            else: path.write_bytes(before); new.unlink(missing_ok=True)
            assert fresh(), name


# What counts as run; the kernel is played by a function

@pytest.fixture
def played(papers, monkeypatch):
    """Runs that leave what a kernel would, at once; the list says which pages ran."""
    ran = []
    def execute(p, ids, r, at, tell, place):
        ran.append(p.name)
        for i in [i for i in p.upto(ids)[1] if i not in again.without]:
            ends = [f'figures/{i}.{e}' for e in ('png', 'npz', 'json')] if i in p.figures else [f'claims/{i}.json']
            for path in [r.out / end for end in ends]:
                path.parent.mkdir(parents=True, exist_ok=True)
                told = dict(id=i, preset=r.preset, seconds=2., got=1, key=f'key of {i}', n=len(ran))
                path.write_text(json.dumps(told))
        final = R._output(r.out, p, ids)
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(p.path, final)
        return final
    monkeypatch.setattr(R, '_execute', execute)
    def again(*targets, preset='smoke', **kw):
        ran.clear()
        R.run(targets, preset, **kw)
        return ran
    again.without = () # figures and claims that the page does not reach now
    return again


def edit(path, old, new): path.write_text(path.read_text().replace(old, new))


def test_nothing_runs_twice(papers, played):
    nb, toml = papers / 'nbs/toys/paper_toy.ipynb', papers / 'nbs/toys/paper_toy.toml'
    assert played('toy', 'plain') == ['00_plain', 'paper_toy']
    assert played('toy', 'plain') == played('toy.a') == played('toy Fig. 4') == []
    assert played('toy', seed=1) == ['paper_toy'] and played('toy', preset='laptop') == ['paper_toy']
    assert played('plain', preset='laptop') == ['00_plain']
    one = papers / 'one' # only the pages of papers have presets
    assert played('plain', 'toy', out=one) == ['00_plain', 'paper_toy']
    assert played('plain', 'toy', out=one, preset='laptop') == ['paper_toy']
    assert played('toy', seed=1) == [] and played('toy', force=True) == ['paper_toy']
    played('toy'), played('toy.a')
    for change in (lambda: edit(nb, "claim('toy.b', 2)", "claim('toy.b', 3)"),
                   lambda: edit(toml, 'abs = 0.2', 'abs = 0.3')):
        change()
        assert played('toy') == ['paper_toy'] and played('toy') == []


def test_what_an_earlier_run_made_is_not_taken_for_this_ones(papers, played):
    nb, out = papers / 'nbs/toys/paper_toy.ipynb', papers / 'out/smoke'
    played('toy')
    played.without = 'toy.f', 'toy.b' # as where data are gone
    edit(nb, "claim('toy.a', 1)", "claim('toy.a', 4)")
    assert played('toy') == ['paper_toy'] and played('toy') == []
    assert [f.name for k in ('figures', 'claims') for f in (out / k).iterdir()] == ['toy.a.json']
    played.without = ()
    assert played('toy', force=True) == ['paper_toy'] and len([*(out / 'figures').iterdir()]) == 3


def test_what_stands_below_a_target_leaves_it_fresh(papers, played):
    nb = papers / 'nbs/toys/paper_toy.ipynb'
    assert played('toy.a') == ['paper_toy']
    edit(nb, "claim('toy.b', 2)", "claim('toy.b', 3)")
    assert played('toy.a') == []
    edit(nb, "claim('toy.a', 1)", "# a word\\nclaim('toy.a', 1)")
    assert played('toy.a') == []
    edit(nb, "claim('toy.a', 1)", "claim('toy.a', 4)")
    assert played('toy.a') == ['paper_toy']


@pytest.mark.parametrize('name', ['notebooks/toys/paper_toy.stamp.json', 'notebooks/toys/paper_toy.ipynb',
                                  'claims/toy.a.json', 'figures/toy.f.png', 'figures/toy.f.npz'])
@pytest.mark.parametrize('damage', [lambda b: b'', lambda b: b[:len(b) // 2], lambda b: b'\xff' + b[1:],
                                    lambda b: b'[1]', lambda b: b'{"digest": 1}', None])
def test_damaged_stamps_and_records_are_made_again(papers, played, capsys, name, damage):
    played('toy')
    path = papers / 'out/smoke' / name
    whole = path.read_bytes()
    if damage: path.write_bytes(damage(whole))
    else: path.unlink()
    capsys.readouterr()
    assert played('toy') == ['paper_toy'] and played('toy') == []
    told = [line for line in capsys.readouterr().err.splitlines() if 'made again' in line]
    other = name.endswith('stamp.json') and (not damage or damage(whole) == b'{"digest": 1}') # none, or another state's
    assert len(told) == (not other) and all(str(path) in line for line in told)


def test_cost_is_what_is_recorded(papers, played, capsys):
    book = {p.name: p for p in R.pages()}
    cost = lambda *ids: R.expected_seconds(book['paper_toy'], papers / 'out/smoke', 'smoke', ids)
    assert cost() is None
    played('toy')
    assert cost() == 6. and cost('toy.a') == 2. and cost('toy.f') == 4. # what stands above is paid for too
    (papers / 'data/results/smoke').mkdir(parents=True)
    (papers / 'data/results/smoke/claims.json').write_text(json.dumps([dict(id='toy.b', preset='smoke', seconds=50.)]))
    assert cost() == 6.
    shutil.rmtree(papers / 'out')
    assert cost() == 50.
    played('toy')
    assert 'expected 50 s' in capsys.readouterr().err


# What is kept

def test_record_merges_and_refuses(papers, played, capsys):
    home = papers / 'data/results/laptop'
    def kept(kind): return {r['id']: r for r in json.loads((home / f'{kind}.json').read_text())}
    home.mkdir(parents=True)
    first = [dict(id='more.a', preset='laptop', got=7, key='old'), dict(id='gone', preset='laptop')]
    (home / 'claims.json').write_text(json.dumps(first))
    (home / 'figures').mkdir()
    (home / 'figures/gone.png').touch()
    assert played('toy.a', 'toy.f', preset='laptop') and not (home / 'figures.json').exists() # only record writes
    played('toy.a', 'toy.f', preset='laptop', record_it=True)
    assert set(kept('claims')) == {'more.a', 'toy.a'} and kept('claims')['more.a']['got'] == 7
    assert kept('claims')['toy.a']['key'] == 'key of toy.a'
    assert [p.name for p in (home / 'figures').iterdir()] == ['toy.f.png'] and set(kept('figures')) == {'toy.f'}
    before = (home / 'claims.json').read_text()
    toy = next(p for p in R.pages() if p.paper == 'toy')
    failed = [dict(page=toy, ids=(), figures=list(toy.figures), claims=list(toy.claims), status='failed')]
    with pytest.raises(ValueError, match='nothing is recorded, for toys/paper_toy failed'):
        R.record(papers / 'out/laptop', 'laptop', failed)
    for damaged in ('', '[1', '{"a": 1}'):
        (home / 'claims.json').write_text(damaged)
        with pytest.raises(ValueError, match='claims.json is damaged'): played('toy', preset='laptop', record_it=True)
        assert (home / 'claims.json').read_text() == damaged
    (home / 'claims.json').write_text(before)


def test_a_page_that_fails_is_not_recorded(papers, played, monkeypatch, capsys):
    good = R._execute
    def bad(p, *a):
        if p.paper == 'more': raise RuntimeError('no luck')
        return good(p, *a)
    monkeypatch.setattr(R, '_execute', bad)
    done = R.run(['toys'], 'laptop', record_it=True)
    assert [d['status'] for d in done] == ['failed', 'ran'] and not (papers / 'data').exists()
    assert 'no luck' in done[0]['error'] and 'nothing is recorded' in capsys.readouterr().err


# Kernels

def test_a_kernel_is_this_python_and_reads_nothing_of_the_users(mini, tmp_path, monkeypatch):
    foreign = tmp_path / 'jupyter/kernels/python3'
    foreign.mkdir(parents=True)
    spec = dict(argv=['/bin/false', '{connection_file}'], display_name='x', language='python')
    (foreign / 'kernel.json').write_text(json.dumps(spec))
    startup = tmp_path / 'ipython/profile_default/startup'
    startup.mkdir(parents=True)
    (startup / '00.py').write_text('spoilt = 1')
    config = "c = get_config()\nc.InteractiveShellApp.exec_lines = ['spoilt = 2']"
    (tmp_path / 'ipython/profile_default/ipython_config.py').write_text(config)
    (tmp_path / 'start.py').write_text('spoilt = 3')
    long = tmp_path / ('a' * 100) / ('b' * 90)
    long.mkdir(parents=True)
    for k, v in dict(JUPYTER_PATH=tmp_path / 'jupyter', IPYTHONDIR=tmp_path / 'ipython', TMPDIR=long,
                     PYTHONSTARTUP=tmp_path / 'start.py', PYTHONOPTIMIZE=2).items():
        monkeypatch.setenv(k, str(v))
    monkeypatch.delenv('HOME', raising=False)
    monkeypatch.setattr(tempfile, 'tempdir', None)
    (mini / 'nbs/foundations').mkdir()
    (mini / 'nbs/foundations/deepstruct.py').write_text('1 / 0') # lies in the kernel's working directory
    page(mini, '00_facts', 'import deepstruct, json, os, sys\nfrom pathlib import Path',
         'root, names = Path(os.environ["DEEPSTRUCT_ROOT"]), dir()',
         'facts = dict(python=sys.executable, library=str(Path(deepstruct.__file__).parent), asserts=__debug__)',
         'facts |= dict(spoilt="spoilt" in names, cwd=os.getcwd(), tmp=os.environ["TMPDIR"])',
         '(root / "facts").write_text(json.dumps(facts))')
    done, = R.run([], 'smoke')
    assert done['status'] == 'ran', done['error']
    wanted = dict(python=sys.executable, library=str(Path(deepstruct.__file__).parent), asserts=True, spoilt=False,
                  cwd=str(mini / 'nbs/foundations'), tmp=str(long))
    assert json.loads((mini / 'facts').read_text()) == wanted
    assert os.environ['PYTHONOPTIMIZE'] == '2' and not [p for p in long.rglob('*') if 'deepstruct' in p.name]


def test_a_false_assertion_fails_and_another_library_is_refused(mini, tmp_path, monkeypatch):
    page(mini, '00_a', 'assert 1 == 2')
    monkeypatch.setenv('PYTHONOPTIMIZE', '1')
    done, = R.run([], 'smoke')
    assert done['status'] == 'failed' and 'AssertionError' in done['error']
    (tmp_path / 'other/deepstruct').mkdir(parents=True)
    (tmp_path / 'other/deepstruct/__init__.py').touch()
    lines = f'import sys; sys.path.insert(0, {str(tmp_path / "other")!r}); import deepstruct'
    (tmp_path / 'other/sitecustomize.py').write_text(lines)
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path / "other"}:{os.environ.get("PYTHONPATH", "")}')
    done, = R.run([], 'smoke')
    assert 'a deepstruct that is not the one of this checkout' in done['error']
    assert 'before the first cell' in done['error']


def test_the_library_is_the_one_of_the_root(mini):
    page(mini, '00_a', 'import deepstruct\nassert deepstruct.mine')
    (mini / 'deepstruct').mkdir()
    (mini / 'deepstruct/__init__.py').write_text('mine = True')
    assert R.run([], 'smoke')[0]['status'] == 'ran'


@pytest.mark.parametrize('length', [1, 60, 105, 200])
def test_sockets_fit(tmp_path, monkeypatch, length):
    base = tmp_path / 'x'
    while len(str(base)) < length: base = base / ('y' * min(200, max(1, length - len(str(base)) - 1)))
    base.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(tempfile, 'tempdir', str(base))
    with R._workplace() as (folder, ipc):
        assert ipc and folder.is_dir() and len(f'{folder}/k999-5') < 100
    assert not folder.exists()


def test_tcp_where_no_folder_is_short(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda *a: False)
    with R._workplace() as (folder, ipc): assert not ipc
    page(mini, '00_a', 'import json, os\nwhere = json.load(open(os.environ["JUPYTER_RUNTIME_DIR"] + "/k1.json"))',
         'assert where["transport"] == "tcp"')
    done, = R.run([], 'smoke')
    assert done['status'] == 'ran', done['error']


def test_leftovers_of_dead_runs_are_swept_and_nothing_else(monkeypatch):
    short = Path(tempfile.mkdtemp(dir='/tmp', prefix='t'))
    monkeypatch.setattr(tempfile, 'tempdir', str(short))
    dead, mine, link = short / (R._runs + 'dead1234'), short / 'deepstruct-data', short / (R._runs + 'link')
    for d in (dead / 'ipython', mine, short / (R._runs + 'else')): d.mkdir(parents=True)
    (dead / 'lock').touch()
    link.symlink_to(mine)
    with R._workplace() as (alive, _):
        assert alive.parent == short and not dead.exists()
        with R._workplace() as (second, _): assert alive.is_dir() and second != alive
        assert mine.is_dir() and alive.is_dir() and (short / (R._runs + 'else')).is_dir()
    shutil.rmtree(short)


# How pages and runs end

DEATHS = {
    'exit_zero': ('import sys; sys.exit(0)', 'did not reach its last cell'),
    'exit_bare': ('raise SystemExit', 'did not reach its last cell'),
    'exit_word': ('import sys; sys.exit("no data")', 'SystemExit: no data'),
    'exit_call': ('exit()', 'did not reach its last cell'),
    'exit_os': ('import os; os._exit(0)', 'did not reach its last cell'),
    'killed': ('import os, signal; os.kill(os.getpid(), signal.SIGKILL)', 'memory'),
    'crashed': ('import os, signal; os.kill(os.getpid(), 11)', '(Segmentation fault): try OMP_NUM_THREADS=1'),
    'aborted': ('import os; os.abort()', 'native code (Aborted)'),
    'full': ("raise OSError(28, 'No space left on device')", 'out/smoke or in the cache')}


def test_pages_that_do_not_reach_their_end(mini, capfd):
    for k, (name, (source, _)) in enumerate(DEATHS.items()):
        page(mini, f'{k:02}_{name}', 'x = 1', f'# why\n{source}', *(['y = 2'] if k % 2 else []))
    page(mini, '99_good', 'x = 1')
    done = {d['page'].name[3:]: d for d in R.run([], 'smoke', jobs=2)}
    assert done.pop('good')['status'] == 'ran' # the others go on
    for name, (source, says) in DEATHS.items():
        d, n = done[name], list(DEATHS).index(name)
        assert d['status'] == 'failed' and says in d['error'] and '\n' not in d['error'], d['error']
        assert f'cell 2 of {n:02}_{name} ({source[:60]})' in d['error'], d['error']
    assert [p.name for p in (mini / 'out').rglob('*.stamp.json')] == ['99_good.stamp.json']
    assert 'Traceback' not in capfd.readouterr().err


def test_a_death_names_what_was_being_made(mini):
    die = 'import os, signal; os.kill(os.getpid(), signal.SIGKILL)'
    page(mini, 'paper_m', "preset = 'laptop'", OWN,
         "claim('m.a', 1)", f"1\n{die}", "claim('m.c', 2)", "claim('m.b', 2)",
         folder='toys', toml=T.HEAD.replace('"toy"', '"m"') + row('m.a') + row('m.b') + row('m.c'))
    done, = R.run(['m.b'], 'smoke')
    assert 'cell 4 of paper_m (1), making m.b' in done['error'] and (mini / 'log').read_text() == 'm.a=1 '


MAIN = ('import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'from deepstruct.book import runner as R\n'
        'try: R.run([], "smoke", jobs=int(sys.argv[1]))\nexcept KeyboardInterrupt: sys.exit(130)')


def alive(pid):
    try: return open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] != 'Z'
    except OSError: return False


def until(f, seconds=60):
    end = time.time() + seconds
    while not f():
        assert time.time() < end, 'waited too long'
        time.sleep(.05)


@pytest.mark.skipif(not os.path.isdir('/proc'), reason='reads /proc')
@pytest.mark.parametrize('how, jobs, status', [('TERM', 1, 143), ('TERM', 2, 143), ('INT', 2, 130), ('KILL', 2, -9)])
def test_a_stopped_run_leaves_no_kernel(mini, tmp_path, monkeypatch, how, jobs, status):
    for name in 'abc'[:jobs + 1]: # one more waits
        page(mini, f'00_{name}', 'import os, subprocess, time', 'child = subprocess.Popen(["sleep", "100"])',
             'log = open(os.environ["DEEPSTRUCT_ROOT"] + "/pids", "a", buffering=1)',
             'log.write(f"{os.getpid()} {child.pid}\\n")', 'while True: sum(range(1000))')
    short = Path(tempfile.mkdtemp(dir='/tmp', prefix='t'))
    p = subprocess.Popen([sys.executable, '-c', MAIN, str(jobs)], stderr=open(tmp_path / 'told', 'w'),
                         env=os.environ | {'TMPDIR': str(short)})
    pids = lambda: (mini / 'pids').read_text().split() if (mini / 'pids').exists() else []
    until(lambda: len(pids()) == 2 * jobs)
    begun = time.time()
    p.send_signal(getattr(signal, f'SIG{how}'))
    p.wait(30)
    told = (tmp_path / 'told').read_text()
    assert p.returncode == status and 'Traceback' not in told, told
    until(lambda: not any(map(alive, pids()[::2])), 10)
    if how != 'KILL': # and what the kernels had started
        until(lambda: not any(map(alive, pids())), 5)
        assert time.time() - begun < 30 and len(pids()) == 2 * jobs and not list(short.glob('deepstruct*'))
    if how == 'TERM':
        assert 'stopped by SIGTERM; the same command goes on from here' in told and 'failed' not in told
    for pid in filter(alive, pids()): os.kill(int(pid), signal.SIGKILL)
    monkeypatch.setattr(tempfile, 'tempdir', str(short))
    with R._workplace() as (folder, _): assert list(short.glob('deepstruct*')) == [folder] # what it left is swept
    shutil.rmtree(short)


# Places that cannot be written

def test_an_out_folder_that_cannot_be_written(mini, tmp_path):
    page(mini, '00_a', '1')
    (tmp_path / 'file').touch()
    places = [tmp_path / 'file', tmp_path / 'file/below']
    if os.geteuid():
        (tmp_path / 'closed').mkdir(mode=0o500)
        places += [tmp_path / 'closed', tmp_path / 'closed/below']
    for out in places:
        with pytest.raises(ValueError) as e: R.run([], 'smoke', out=out)
        assert all(s in str(e.value) for s in (str(out), 'cannot be written', '--out')) and '\n' not in str(e.value)


def test_a_full_disk_fails_the_page_and_the_others_go_on(papers, played, monkeypatch):
    real = R.L.write_json
    def full(path, value):
        if 'paper_more' in path.name:
            with R.L.atomic(path) as tmp:
                tmp.write_text('{"half')
                raise OSError(28, 'No space left on device')
        real(path, value)
    monkeypatch.setattr(R.L, 'write_json', full)
    done = R.run(['toys'], 'smoke')
    assert [d['status'] for d in done] == ['failed', 'ran']
    assert f'No space left on device: {papers / "out/smoke"}' in done[0]['error']
    assert not [p for p in (papers / 'out').rglob('*') if 'stamp' in p.name and 'more' in p.name]


def test_a_notebook_that_cannot_be_written_whole(mini, monkeypatch):
    import papermill.execute
    page(mini, '00_a', '1')
    page(mini, '01_b', '1')
    real = papermill.execute.write_ipynb
    def half(nb, path):
        if '00_a' not in path: return real(nb, path)
        Path(path).write_text('{"cells": [')
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(papermill.execute, 'write_ipynb', half)
    done = R.run([], 'smoke')
    assert [d['status'] for d in done] == ['failed', 'ran']
    assert f'No space left on device: {mini / "out/smoke"}' in done[0]['error']
    assert sorted(p.name for p in (mini / 'out').rglob('*') if p.is_file()) == ['01_b.ipynb', '01_b.stamp.json']
    (mini / 'out/smoke/notebooks').rename(mini / 'out/smoke/old')
    (mini / 'out/smoke/notebooks').touch()
    done = R.run(['00_a'], 'smoke', force=True)
    assert done[0]['status'] == 'failed' and str(mini / 'out/smoke/notebooks') in done[0]['error']


# Whose checkout

@pytest.mark.parametrize('settings', ['[DEFAULT]\nlib_name = other\n', '[DEFAULT]\n', '',
                                      '[DEFAULT]\nlib_name = deepstruct_more\n'])
def test_another_project_as_working_directory(tmp_path, monkeypatch, settings):
    (tmp_path / 'nbs').mkdir()
    (tmp_path / 'settings.ini').write_text(settings)
    T.write(tmp_path / 'nbs/00_theirs.ipynb', [('', '1')])
    monkeypatch.delenv('DEEPSTRUCT_ROOT', raising=False)
    monkeypatch.chdir(tmp_path)
    assert '00_theirs' not in [p.name for p in R.pages()] # this file's own checkout is taken
    for root in (None, tmp_path): # not where the library is only installed, nor when it is asked for by name
        monkeypatch.setattr(R, 'find_root', lambda start=None, real=R.find_root: real(start) if start else None)
        with pytest.raises(ValueError, match=f'{tmp_path} is no checkout of deepstruct'): R.run([], 'smoke', root=root)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('words, says', [
    (dict(preset='huge'), 'expected one of'), (dict(jobs=0), 'at least 1'),
    (dict(targets=['no']), 'nothing is called'), (dict(root='/nowhere'), '/nowhere is no checkout')])
def test_what_cannot_be_asked(papers, words, says):
    with pytest.raises(ValueError, match=says): R.run(**{'preset': 'smoke', **words})
    assert not (papers / 'out').exists()


def test_faults_in_the_papers_files_are_said_first(papers):
    edit(papers / 'nbs/toys/paper_toy.toml', 'kind = "number"', 'kind = "guess"')
    with pytest.raises(ValueError, match='kind is'): R.run(['plain'], 'smoke')


def test_several_at_once_do_not_get_in_each_others_way(mini):
    for k in range(3):
        cells = f'import os; k = {k}', 'import time; time.sleep(.2)', 'print(k, os.getcwd())'
        page(mini, f'0{k}_a', *cells, folder=f'f{k}')
    done = R.run([], 'smoke', jobs=3)
    for k, d in enumerate(done):
        assert d['status'] == 'ran' and f'{k} {mini}/nbs/f{k}' in R._output(mini / 'out/smoke', d['page']).read_text()
