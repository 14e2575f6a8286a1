"""The site needs no network: every page is there, nothing is loaded from elsewhere, and the search knows the words."""
import re

import pytest

pytest.importorskip('sphinx')
pytestmark = pytest.mark.filterwarnings('ignore')


def test_offline(root, tmp_path, capfd):
    from deepstruct.book import runner, site
    site.build(tmp_path / 'site')
    said = capfd.readouterr()
    assert 'WARNING' not in said.err and 'ERROR' not in said.err, said.err
    pages = {p.relative_to(tmp_path / 'site').with_suffix('').as_posix(): p for p in (tmp_path / 'site').rglob('*.html') if '_static' not in p.parts}
    assert {p.key for p in runner.pages()} | {'claims', 'figures', 'search'} <= set(pages)
    for name, path in pages.items():
        text = path.read_text(encoding='utf-8')
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="(https?:[^"]+)"|<link[^>]*rel="(?:stylesheet|preload)"[^>]*href="(https?:[^"]+)"', text)
        assert not loaded, (name, loaded)
        assert '#| export' not in text.replace('&#124;', '|'), name
    index = (tmp_path / 'site/searchindex.js').read_text()
    assert 'laplacian' in index and 'spectrum' in index
