"""What a reader meets: notebooks of a bearable size, ids that lead somewhere, no paths of somebody's machine, a README that is generated."""
import base64
import json
import re
from pathlib import Path

import pytest

from deepstruct.book import claims as C

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
PLACES = 'home', 'root', 'Users', 'tmp', 'work', 'mnt', 'opt', 'private', 'builds' # first folders of absolute paths
LOCAL = re.compile(r'(?<![\w.])/(' + '|'.join(PLACES) + r')/\w|[A-Z]:\\\\Users')


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook(path):
    text = path.read_text(encoding='utf-8')
    nb = json.loads(text)
    assert len(text) <= 1_500_000 and 'widgets' not in nb['metadata']
    assert ''.join(nb['cells'][0]['source']).startswith('# ') and '\n> ' in ''.join(nb['cells'][0]['source']), 'begins with a title and a line of description'
    for c in nb['cells']:
        tags = c['metadata'].get('tags', [])
        assert set(tags) <= {'parameters'}, tags
        for o in c.get('outputs', []):
            assert o['output_type'] != 'error' and o.get('name') != 'stderr', c['id']
            said = ''.join(o.get('text', [])) + ''.join(''.join(v) for k, v in o.get('data', {}).items() if not k.startswith('image'))
            assert not LOCAL.search(said), (c['id'], LOCAL.search(said))
            picture = o.get('data', {}).get('image/png')
            if picture: assert len(base64.b64decode(''.join(picture))) <= 250_000, c['id']


@pytest.mark.parametrize('path', [p for p in NOTEBOOKS if p.stem.startswith('paper_')], ids=lambda p: p.stem)
def test_paper_notebook(path):
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    tagged = [c for c in cells if 'parameters' in c['metadata'].get('tags', [])]
    assert len(tagged) == 1 and "preset = 'laptop'" in ''.join(tagged[0]['source']) and 'seed = ' in ''.join(tagged[0]['source'])
    assert not any(line.startswith('#|') for c in cells for line in ''.join(c['source']).split('\n') if c['cell_type'] == 'code')
    assert not re.search(r'if +preset *==|if +.smoke.', '\n'.join(''.join(c['source']) for c in cells)), 'presets change scale, never code'


def test_ids_lead_somewhere():
    table, found = C.load_claims(), C.scan()
    assert set(found['claim']) == set(table), 'claims of the notebooks and rows of claims.toml'
    for id, row in table.items(): assert found['claim'][id]['paper'] == row['paper'], id
    for preset in C.PRESETS:
        assert set(C.records('claims', preset)) <= set(table) and set(C.records('figures', preset)) <= set(found['figure']), preset
        shown = {p.stem for p in (ROOT / 'data/results' / preset / 'figures').glob('*.png')}
        assert shown == set(C.records('figures', preset)), preset


@pytest.mark.parametrize('path', sorted(ROOT.glob('data/results/*/figures/*.png')), ids=lambda p: p.stem)
def test_recorded_pictures(path): assert path.stat().st_size <= 250_000


def test_readme_is_generated():
    site = pytest.importorskip('deepstruct.book.site')
    assert (ROOT / 'README.md').read_text(encoding='utf-8') == site.readme_text(), 'run `make readme`'


def test_no_machine_in_tracked_text():
    """No absolute home path, index or wheel folder in what the project ships."""
    kept = [p for pattern in ('*.toml', '*.ini', '*.lock', 'Makefile', 'setup.py', '.github/**/*.yml', '.ci/*', 'deepstruct/**/*.py', 'data/**/*.json') for p in ROOT.glob(pattern)]
    for p in kept:
        text = p.read_text(encoding='utf-8')
        assert not re.search(r'file:/|\+cpu|--index-url|--find-links', text) and not LOCAL.search(text), p
