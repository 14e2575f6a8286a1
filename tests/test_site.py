"""The site needs no network: every page is there, nothing comes from elsewhere, and text from files is only text."""
import html
import re

import pytest


pytest.importorskip('sphinx')
pytestmark = pytest.mark.filterwarnings('ignore')
NASTY = '<script>alert(1)</script> | `a` *b* $x_1$ [c](javascript:d) {role}`e` <img src=x onerror=f>'
SHOWN = '&lt;script&gt;alert(1)&lt;/script&gt; | `a` *b* $x_1$ [c](javascript:d) {role}`e` &lt;img src=x onerror=f&gt;'


def built(to):
    from deepstruct.book import site
    site.build(to)
    pages = [p for p in to.rglob('*.html') if '_static' not in p.parts]
    return {p.relative_to(to).with_suffix('').as_posix(): p.read_text(encoding='utf-8') for p in pages}


def test_offline(root, tmp_path, capfd):
    from deepstruct.book import ledger, runner
    pages = built(tmp_path / 'site')
    said = capfd.readouterr()
    assert 'WARNING' not in said.err and 'ERROR' not in said.err, said.err
    assert {p.key for p in runner.pages()} | {'claims', 'figures', 'search'} <= set(pages)
    elsewhere = r'<(?:script|img|iframe)[^>]* src="https?:|<link[^>]*rel="(?:stylesheet|preload)"[^>]*href="https?:'
    for name, text in pages.items():
        assert not re.search(elsewhere, text), name
        assert '#| export' not in text.replace('&#124;', '|'), name
        for picture in re.findall(r'<img[^>]*>', text):
            alt = re.search(r'alt="([^"]*)"', picture)
            assert alt and alt[1] and not alt[1].endswith('.png'), (name, picture)
    for id in ledger.load().rows: assert f'id="{re.sub("[^a-z0-9_-]", "", id)}"' in pages['claims'], id
    index = (tmp_path / 'site/searchindex.js').read_text()
    assert 'laplacian' in index and 'spectrum' in index


def test_text_is_only_text(toy, tmp_path, monkeypatch):
    from deepstruct.book import ledger
    rows, places, figures = ledger.ledger(), ledger.places(), ledger.figures()
    (toy / 'x.png').write_bytes(b'')
    rows = [r | dict(statement=NASTY, note=NASTY) for r in rows]
    monkeypatch.setattr(ledger, 'ledger', lambda checks=False: [] if checks else rows)
    monkeypatch.setattr(ledger, 'figures', lambda: [f | dict(title=NASTY, png='x.png') for f in figures])
    monkeypatch.setattr(ledger, 'places', lambda: [p | dict(shows=NASTY, why=NASTY) for p in places])
    pages = built(tmp_path / 'site')
    for name in ('claims', 'figures'):
        body = pages[name][pages[name].index('<article'):pages[name].index('</article>')]
        assert not re.search('<script>alert|onerror=f>|href="javascript|class="math', body), name
        assert SHOWN in body, 'it is shown as it was written'


@pytest.mark.parametrize('text', [NASTY, '</td></tr>', '\\<b>', '&lt;b>', '$$x$$', '~~a~~', 'a\nb', '\\', '||', '_a_'])
def test_plain(text):
    from markdown_it import MarkdownIt
    from deepstruct.book.site import grid, plain
    reader = MarkdownIt('commonmark', {'html': True}).enable(['table', 'strikethrough'])
    cell, = re.findall(r'<td>(.*?)</td>', reader.render(grid(['head'], [[plain(text)]])))
    assert '<' not in cell and html.unescape(cell) == ' '.join(text.split())
