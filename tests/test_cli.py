"""The command line's contract: keys of the JSON, exit status, errors of one line, and no torch where nothing is computed."""
import json
import subprocess
import sys

import pytest

from deepstruct.book.cli import main

CLAIM = set('id paper where statement kind source scale needs paper_value tolerance tolerance_from set null nature got n seeds spread '
            'verdict expected why preset seconds device notebook'.split())
FIGURE = set('id paper where title notebook png preset seconds'.split())


def test_list_and_claims(capsys):
    assert main(['list', '--json']) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {'figures', 'claims'} and all(FIGURE <= set(f) for f in told['figures'])
    assert main(['claims', '--json']) == 0
    rows = json.loads(capsys.readouterr().out)
    assert isinstance(rows, list) and rows and all(CLAIM <= set(r) for r in rows) and [r['id'] for r in rows] == [r['id'] for r in told['claims']]
    for words in (['list'], ['claims'], ['claims', '--preset', 'long']): assert main(words) == 0


def test_what_is_recorded_is_what_is_expected():
    from deepstruct.book import claims as C
    for preset in (None, *C.PRESETS): assert not C.failures(C.ledger(preset))


def test_paths_are_from_the_root(root, capsys):
    main(['list', '--json'])
    told = json.loads(capsys.readouterr().out)
    for f in told['figures']:
        assert (root / f['notebook']).is_file() and (f['png'] is None or (root / f['png']).is_file())


def test_preset_and_out(toy, capsys):
    from deepstruct.book import claims as C
    C.start('toy', 'nbs/toy/paper_toy.ipynb', preset='smoke', out=toy / 'mine')
    C.claim('toy.mean', .01, null=1., n=3, seeds=[0, 1], spread=.1)
    capsys.readouterr()
    rows = lambda *words: (main(['claims', '--json', *words]), json.loads(capsys.readouterr().out))[1][0]
    ours = rows('--out', str(toy / 'mine'))
    assert (ours['verdict'], ours['expected'], ours['preset'], ours['got'], ours['null'], ours['n']) == ('holds', 'holds', 'smoke', .01, 1., 3)
    assert rows('--out', str(toy / 'mine'), '--preset', 'laptop')['verdict'] == rows()['verdict'] == 'not run here'


@pytest.mark.parametrize('words, says', [
    ([], 'required'), (['plot'], 'plot'), (['claims', '--preset', 'huge'], 'expected one of smoke'), (['list', '--out', 'no/folder'], 'no folder'),
    (['reproduce', 'cslc.nothing'], 'nothing is called'), (['reproduce', '--preset', 'huge'], 'huge'), (['reproduce', '--jobs', '0'], 'at least 1'),
    (['reproduce', '--jobs', 'x'], 'invalid int'), (['data', 'get', 'no_such_data'], 'no_such_data'), (['data'], 'required')])
def test_errors_are_one_line(words, says, capsys):
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == '' and len(told.err.splitlines()) == 1 and told.err.startswith('deepstruct: ') and says in told.err


def test_reading_loads_neither_torch_nor_matplotlib():
    code = "import sys; from deepstruct.book.cli import main; main(['claims']); main(['list']); sys.exit(bool({'torch', 'matplotlib', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, '-c', code], stdout=subprocess.DEVNULL).returncode == 0


def test_the_library_stands_without_nbdev(root):
    for path in (root / 'deepstruct').rglob('*.py'):
        text = path.read_text()
        if path.name != 'site.py': assert 'import nbdev' not in text and 'from nbdev' not in text and 'fastcore' not in text, path
