"""A page in a headless browser, over the debugging protocol; None where there is no browser."""
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

FLAGS = """--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update
    --disable-sync --no-first-run --remote-debugging-port=0 --remote-allow-origins=*""".split()
NAMES = 'chromium', 'chromium-browser', 'google-chrome', 'chrome'


class Browser:
    """Use as a context; `seen` holds the events of the page that is open."""
    def __init__(self):
        socket, path = pytest.importorskip('websocket'), next(filter(None, map(shutil.which, NAMES)), None)
        if not path: pytest.skip(f'no browser: none of {", ".join(NAMES)}')
        self.home, quiet = tempfile.mkdtemp(), subprocess.DEVNULL
        call = [path, *FLAGS, f'--user-data-dir={self.home}', 'about:blank']
        self.process = subprocess.Popen(call, stdout=quiet, stderr=quiet)
        try:
            at, end = Path(self.home) / 'DevToolsActivePort', time.time() + 60
            while not at.exists() or not at.read_text(): self.wait(end)
            self.at, self.connect, self.socket = at.read_text().split()[0], socket.create_connection, None
            self.fresh()
        except BaseException:
            self.__exit__()
            raise

    def ask(self, what, method='GET'):
        asked = urllib.request.Request(f'http://127.0.0.1:{self.at}/json/{what}', method=method)
        return urllib.request.urlopen(asked, timeout=60).read()

    def fresh(self):
        """A tab of its own for each page: what one asked for and heard of late is not laid to the next."""
        tab = json.loads(self.ask('new?about:blank', 'PUT'))
        if self.socket:
            self.socket.close()
            self.ask(f'close/{self.tab}')
        self.socket, self.n, self.seen = self.connect(tab['webSocketDebuggerUrl'], timeout=120), 0, []
        self.tab = tab['id']
        for domain in ('Page', 'Runtime', 'Log', 'Network'): self.call(f'{domain}.enable')

    def wait(self, end):
        if time.time() > end or self.process.poll() is not None: pytest.skip('the browser does not start')
        time.sleep(.1)

    def __enter__(self): return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method, **parameters):
        self.n += 1
        self.socket.send(json.dumps(dict(id=self.n, method=method, params=parameters)))
        while (m := json.loads(self.socket.recv())).get('id') != self.n: self.seen.append(m)
        assert 'error' not in m, (method, m['error'])
        return m['result']

    def js(self, source):
        """Value of an expression, or of the promise that it is."""
        r = self.call('Runtime.evaluate', expression=source, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in r, r['exceptionDetails']
        return r['result'].get('value')

    def open(self, path, width=1440, theme='light', at=''):
        self.fresh()
        size = dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call('Emulation.setDeviceMetricsOverride', **size)
        self.call('Emulation.setEmulatedMedia', features=[dict(name='prefers-color-scheme', value=theme)])
        self.call('Page.navigate', url=Path(path).resolve().as_uri() + at)
        end = time.time() + 60
        while self.js('document.readyState') != 'complete': self.wait(end)
        return self

    def key(self, key, code):
        for kind in ('keyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      text='\r' if key == 'Enter' and kind == 'keyDown' else '')

    def errors(self):
        return [m for m in self.seen if m.get('method') == 'Runtime.exceptionThrown'
                or m.get('method') == 'Log.entryAdded' and m['params']['entry']['level'] == 'error']

    def weight(self):
        """Bytes of what the page has loaded so far."""
        urls = [m['params']['response']['url'] for m in self.seen if m.get('method') == 'Network.responseReceived']
        local = [u.removeprefix('file://').split('?')[0].split('#')[0] for u in urls if u.startswith('file:')]
        files = {Path(urllib.request.url2pathname(u)) for u in local}
        return sum(f.stat().st_size for f in files if f.exists())
