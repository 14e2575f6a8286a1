"""Doors: pictures and maps are read as what they are, or refused with what to do."""
import io
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from deepstruct.files import far_repeated, files_in, image_folder, natural, opened, read_fields, read_images

RNG = np.random.default_rng(0)
GRAY16 = RNG.integers(0, 65536, (9, 13)).astype('u2')
GRAY8 = (GRAY16 >> 8).astype('u1')
RGB8 = RNG.integers(0, 256, (9, 13, 3)).astype('u1')
LUMA = np.array([.2125, .7154, .0721])


def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(a, colour, depth=16, extra=b''): # a PNG by hand, unfiltered
    h, w = a.shape[:2]
    if depth >= 8: rows = [r.astype('>u2' if depth == 16 else 'u1').tobytes() for r in a]
    else:
        rows = [np.packbits(np.unpackbits(r[:, None].astype('u1'), axis=1)[:, 8 - depth:].ravel()).tobytes() for r in a]
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, depth, colour, 0, 0, 0)) + extra
            + chunk(b'IDAT', zlib.compress(b''.join(b'\0' + r for r in rows))) + chunk(b'IEND', b''))


def close(x, y, tol=1e-6): return np.allclose(np.asarray(x, dtype=np.float64), y, rtol=0, atol=tol)


def pillow(a, **how):
    def write(path): Image.fromarray(a).save(path, **how)
    return write


def tiff(a, **how):
    def write(path):
        import tifffile
        tifffile.imwrite(path, a, **how)
    return write


def bits12(path): # 12 bits a pixel in a big-endian TIFF, by hand, as Pillow reads them
    v = (GRAY16 >> 4)[:8, :12]
    nibbles = np.stack([v >> 8, v >> 4 & 15, v & 15], -1).reshape(8, -1)
    data = (nibbles[:, 0::2] << 4 | nibbles[:, 1::2]).astype('u1').tobytes()
    tags = [(256, 3, 12), (257, 3, 8), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 8),
            (279, 4, len(data))]
    ifd = b''.join(struct.pack('<HHII', t, k, 1, value) for t, k, value in tags)
    path.write_bytes(b'II*\0' + struct.pack('<I', 8 + len(data)) + data + struct.pack('<H', len(tags)) + ifd
                     + b'\0\0\0\0')


SIGNED = RNG.integers(0, 2**31, (9, 13)).astype('i4')
PALETTE = Image.fromarray(RGB8).quantize(64)
# name: (how it is written, what its gray pixels are)
PICTURES = {
    '16.png': (pillow(GRAY16), GRAY16 / 65535), '16.tif': (pillow(GRAY16), GRAY16 / 65535),
    'big endian.tif': (tiff(GRAY16, byteorder='>'), GRAY16 / 65535),
    'lzw16.tif': (pillow(GRAY16, compression='tiff_lzw'), GRAY16 / 65535),
    'lzw8.tif': (pillow(RGB8, compression='tiff_lzw'), RGB8 / 255 @ LUMA),
    'deflate.tif': (tiff(GRAY16, compression='zlib'), GRAY16 / 65535),
    'float.tif': (tiff((GRAY16 / 65535).astype('f4')), GRAY16 / 65535),
            'double.tif': (tiff(GRAY16 / 65535), GRAY16 / 65535),
    'half.tif': (tiff((GRAY8 / 256).astype('f2')), GRAY8 / 256),
    'u32.tif': (tiff(GRAY16.astype('u4') << 16), (GRAY16.astype('u4') << 16) / (2**32 - 1)),
    'i32.tif': (tiff(SIGNED), SIGNED / (2**31 - 1)), 'i16.tif': (tiff((GRAY16 >> 1).astype('i2')),
                                                                 (GRAY16 >> 1) / 32767),
    'rgb16.tif': (tiff(np.stack([GRAY16] * 3, -1), photometric='rgb'), GRAY16 / 65535),
    'planes.tif': (tiff(np.moveaxis(RGB8, -1, 0).copy(), photometric='rgb', planarconfig='separate'),
                   RGB8 / 255 @ LUMA),
    'white is zero.tif': (tiff(GRAY16, photometric='miniswhite'), 1 - GRAY16 / 65535),
    'white is zero, lzw.tif': (pillow(255 - GRAY8, compression='tiff_lzw'), 1 - GRAY8 / 255),
    'rgb16.png': (lambda p: p.write_bytes(png(np.stack([GRAY16] * 3, -1), 2)), GRAY16 / 65535),
    'gray alpha16.png': (lambda p: p.write_bytes(png(np.stack([GRAY16, 0 * GRAY16 + 65535], -1), 4)), GRAY16 / 65535),
    'rgb alpha16.png': (lambda p: p.write_bytes(png(np.stack([*[GRAY16] * 3, 0 * GRAY16 + 65535], -1), 6)),
                        GRAY16 / 65535),
    '4 bits.png': (lambda p: p.write_bytes(png(GRAY8 >> 4, 0, 4)), (GRAY8 >> 4) / 15),
    '2 bits.png': (lambda p: p.write_bytes(png(GRAY8 >> 6, 0, 2)), (GRAY8 >> 6) / 3),
    '1 bit.png': (lambda p: Image.fromarray(GRAY8 > 99).save(p), (GRAY8 > 99) * 1.),
    '12 bits.tif': (bits12, (GRAY16 >> 4)[:8, :12] / 4095),
    'palette.png': (lambda p: PALETTE.save(p), np.asarray(PALETTE.convert('RGB')) / 255 @ LUMA),
    'palette.tif': (lambda p: PALETTE.save(p), np.asarray(PALETTE.convert('RGB')) / 255 @ LUMA),
    'palette.gif': (lambda p: PALETTE.save(p), np.asarray(PALETTE.convert('RGB')) / 255 @ LUMA),
    'wide.pgm': (lambda p: p.write_bytes(b'P5 13 9 65535\n' + GRAY16.astype('>u2').tobytes()), GRAY16 / 65535),
    'odd.pgm': (lambda p: p.write_bytes(b'P5 13 9 1000\n' + (GRAY16 % 1001).astype('>u2').tobytes()),
                (GRAY16 % 1001) / 1000),
    'cmyk.tif': (lambda p: Image.fromarray(RGB8).convert('CMYK').save(p), RGB8 / 255 @ LUMA),
    'RGB.PNG': (pillow(RGB8), RGB8 / 255 @ LUMA), 'plain.bmp': (pillow(RGB8), RGB8 / 255 @ LUMA),
    'lossless.webp': (pillow(RGB8, lossless=True), RGB8 / 255 @ LUMA),
            'no picture ending.jpg': (lambda p: Image.fromarray(RGB8).save(p, 'PNG'), RGB8 / 255 @ LUMA)}


@pytest.mark.parametrize('name', PICTURES)
def test_every_depth_and_kind(name, tmp_path):
    write, want = PICTURES[name]
    write(tmp_path / name)
    x = read_images(tmp_path, gray=True)
    assert (x.dtype == torch.float32 and x.shape == (1, 1, *want.shape)
            and close(x[0, 0], want, 2e-5 if 'odd' in name else 1e-6))
    colour = read_images(tmp_path / name)
    assert colour.shape == (1, 3, *want.shape) and close(np.einsum('chw,c->hw', colour[0].numpy(), LUMA), want, 2e-5)


@pytest.mark.parametrize('turn', range(1, 9))
@pytest.mark.parametrize('name', ['a.jpg', 'a.png', 'a.webp', 'a.tif', 'lzw.tif'])
def test_pictures_stand_upright(turn, name, tmp_path):
    im, exif = Image.fromarray(np.kron(GRAY8[:4, :6], np.ones((8, 8), 'u1'))), Image.Exif()
    exif[0x0112] = turn
    how = (dict(compression='tiff_lzw') if 'lzw' in name else dict(lossless=True) if 'webp' in name
           else dict(quality=100))
    if name == 'a.tif': tiff(np.asarray(im), extratags=[(274, 3, 1, turn, True)])(tmp_path / name)
    else: im.save(tmp_path / name, exif=exif, **how)
    rotated = Image.fromarray(np.asarray(im)); rotated.getexif()[0x0112] = turn
    want = np.asarray(ImageOps.exif_transpose(rotated)) / 255
    assert close(read_images(tmp_path / name, gray=True)[0, 0], want, .02)


def test_a_telephone_holds_one_photograph_and_a_stack_all_its_pages(tmp_path):
    a, b = (Image.fromarray(v) for v in (GRAY8, 255 - GRAY8))
    a.save(tmp_path / 'phone.jpg', 'MPO', save_all=True, append_images=[b], quality=100)
    assert len(read_images(tmp_path)) == 1
    b.save(tmp_path / 'frames.gif', save_all=True, append_images=[a])
    b.save(tmp_path / 'frames.png', save_all=True, append_images=[a])
    tiff(np.stack([GRAY16] * 4), photometric='minisblack')(tmp_path / 'stack.tif')
    x = image_folder(tmp_path)
    assert len(x) == 1 + 2 + 2 + 4 and close(x[-5][0], GRAY8 / 255, .02) and close(x[-1][0], GRAY16 / 65535)
    assert [len(image_folder(tmp_path, n=k)) for k in (1, 2, 8)] == [1, 2, 8]
    import tifffile
    with tifffile.TiffWriter(tmp_path / 'thumb.tif') as t:
        t.write(GRAY8, photometric='minisblack')
        t.write(GRAY8[::2, ::2].copy(), photometric='minisblack', subfiletype=1)
    assert read_images(tmp_path / 'thumb.tif').shape == (1, 3, 9, 13)


SHADE = (GRAY8 > 128).astype('u1') * 200
VEILED = {
    'la.png': (lambda p: Image.fromarray(np.stack([GRAY8, SHADE], -1), 'LA').save(p), SHADE / 255),
    'rgba.png': (lambda p: Image.fromarray(np.stack([*[GRAY8] * 3, SHADE], -1)).save(p), SHADE / 255),
    'rgba.webp': (lambda p: Image.fromarray(np.stack([*[GRAY8] * 3, SHADE], -1)).save(p, lossless=True, exact=True),
                  SHADE / 255),
    'rgba.tif': (tiff(np.stack([*[GRAY8] * 3, SHADE], -1), photometric='rgb', extrasamples=['unassalpha']),
                 SHADE / 255),
    'premultiplied.tif': (tiff(np.stack([*[(GRAY8 * (SHADE / 255)).round().astype('u1')] * 3, SHADE], -1),
                               photometric='rgb',
                               extrasamples=['assocalpha']), SHADE / 255),
    'deep.png': (lambda p: p.write_bytes(png(np.stack([*[GRAY8 * np.uint16(257)] * 3, SHADE * np.uint16(257)],
                                                      -1).astype('u2'),
                                             6)),
                 SHADE / 255),
    'key.png': (lambda p: p.write_bytes(png(GRAY8, 0, 8, chunk(b'tRNS', struct.pack('>H', int(GRAY8[2, 3]))))),
                GRAY8 != GRAY8[2, 3]),
    'colour key.png': (lambda p: p.write_bytes(png(np.stack([GRAY8] * 3, -1), 2, 8,
                                                   chunk(b'tRNS', struct.pack('>HHH', *[int(GRAY8[2, 3])] * 3)))),
                       GRAY8 != GRAY8[2, 3]),
    'deep key.png': (lambda p: p.write_bytes(png(GRAY8 * np.uint16(257), 0, 16,
                                                 chunk(b'tRNS', struct.pack('>H', int(GRAY8[2, 3]) * 257)))),
                     GRAY8 != GRAY8[2, 3])}


@pytest.mark.parametrize('name', VEILED)
def test_transparency_is_laid_on_a_background_that_was_named(name, tmp_path):
    write, opacity = VEILED[name]
    write(tmp_path / name)
    with pytest.raises(ValueError, match='transparent.*background=1'): read_images(tmp_path)
    for ground in (0., .25, 1.):
        x = read_images(tmp_path, gray=True, background=ground)[0, 0]
        assert close(x, GRAY8 / 255 * opacity + ground * (1 - opacity), .003)


def test_small_keys_and_palettes(tmp_path): # a key in the units of 2 bits, a palette with opacities
    a = GRAY8 >> 6
    (tmp_path / 'a.png').write_bytes(png(a, 0, 2, chunk(b'tRNS', struct.pack('>H', 2))))
    assert close(read_images(tmp_path / 'a.png', gray=True, background=1.)[0, 0], np.where(a == 2, 1, a / 3))
    PALETTE.save(tmp_path / 'p.png', transparency=bytes([0] + [255] * 63))
    used = np.asarray(PALETTE) == 0
    want = np.where(used, .5, np.asarray(PALETTE.convert('RGB')) / 255 @ LUMA)
    assert used.any() and close(read_images(tmp_path / 'p.png', gray=True, background=.5)[0, 0], want, 1e-5)


@pytest.mark.parametrize('name, write, words', [
    ('text.png', lambda p: p.write_text('no picture'), 'text.png cannot be read.*expected an image'),
    ('half.png', lambda p: (Image.fromarray(RGB8.repeat(9, 0)).save(p), p.write_bytes(p.read_bytes()[:300])),
     'half.png cannot be read'),
    ('half.jpg', lambda p: (Image.fromarray(RGB8.repeat(90, 0)).save(p), p.write_bytes(p.read_bytes()[:900])),
     'half.jpg cannot be read'),
    ('half.tif', lambda p: (tiff(GRAY16.repeat(9, 0))(p), p.write_bytes(p.read_bytes()[:900])), 'half.tif'),
    ('empty.png', lambda p: p.write_bytes(b''), 'empty.png cannot be read'),
    ('lab.tif', lambda p: Image.fromarray(RGB8).convert('LAB').save(p), 'CIELAB|LAB'),
    ('bands.tif', tiff(RNG.random((9, 13, 5)).astype('f4'), photometric='minisblack', planarconfig='contig'),
     '5 samples'),
    ('stains.tif', tiff(RNG.integers(0, 9, (3, 9, 13)).astype('u2'), imagej=True, metadata={'axes': 'CYX'}),
     '3 channels that are no colours'),
    ('heights.tif', tiff((900 * RNG.random((9, 13))).astype('f4')), r'levels=\(black, white\)'),
    ('below.tif', tiff(-SIGNED), 'levels'), ('nan.tif', tiff(np.full((9, 13), np.nan, 'f4')),
                                             '117 pixels that are NaN'),
    ('waves.tif', tiff(RNG.random((9, 13)).astype('c8')), 'complex64'),
    ('deep.tif', lambda p: pytest.importorskip('tifffile') and lzw16(p), 'imagecodecs')])
def test_refused_by_name(name, write, words, tmp_path):
    write(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with pytest.raises(ValueError, match=words): read_images(tmp_path)


def lzw16(path): # RGB of 16 bits that says it is LZW
    tiff(np.stack([GRAY16] * 3, -1), photometric='rgb')(path)
    import tifffile
    with tifffile.TiffFile(path, mode='r+b') as f: f.pages[0].tags['Compression'].overwrite(5)


def test_levels_are_stated_units(tmp_path):
    pillow((GRAY16 >> 4).astype('u2'))(tmp_path / 'a.png')
    with pytest.warns(UserWarning, match='levels='): assert read_images(tmp_path).max() < 1 / 15
    assert close(read_images(tmp_path, gray=True, levels=(0, 4095))[0, 0], (GRAY16 >> 4) / 4095)
    assert close(read_images(tmp_path, gray=True, levels=(4095, 0))[0, 0], 1 - (GRAY16 >> 4) / 4095) # a negative
    with pytest.raises(ValueError, match='expected 0 to 1000'): read_images(tmp_path, levels=(0, 1000))


def test_order_hidden_files_and_several(tmp_path):
    values = {'10.png': 10, '2.png': 2, '1.png': 1, 'b/3.png': 30, 'b/12.png': 120, '.x.png': 99, '._2.png': 98,
              '.git/1.png': 97,
              '__MACOSX/2.png': 96, 'c.TIFF': 200}
    for k, v in values.items():
        (tmp_path / k).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 4), v, 'u1')).save(tmp_path / k)
    (tmp_path / 'labels.csv').write_text('1,2')
    mean = lambda x: [round(255 * float(y.mean())) for y in x]
    assert mean(read_images(tmp_path, gray=True)) == [1, 2, 10, 30, 120, 200]
    assert mean(read_images([tmp_path / '10.png', str(tmp_path / '2.png')], gray=True)) == [10, 2] # as named
    assert mean(read_images((tmp_path / f'{k}.png' for k in (2, 1)), gray=True)) == [2, 1]
    assert mean(image_folder(tmp_path, n=2)) == [1, 2]
    (tmp_path / 'photo.heic').write_bytes(b'x')
    with pytest.warns(UserWarning, match='photo.heic'): read_images(tmp_path)
    assert sorted(['x10', 'x9', 'x1', 'X2', 'x01'], key=natural) == ['X2', 'x1', 'x01', 'x9', 'x10']
    assert files_in(tmp_path / 'b', ('.png',))[0].name == '3.png'


def test_archives_of_images(tmp_path): # MNIST's
    import gzip
    a = RNG.integers(0, 256, (5, 9, 13)).astype('u1')
    content = struct.pack('>4I', 0x803, 5, 9, 13) + a.tobytes()
    (tmp_path / 't10k-images-idx3-ubyte').write_bytes(content)
    (tmp_path / 'train-images-idx3-ubyte.gz').write_bytes(gzip.compress(content))
    (tmp_path / 'train-labels-idx1-ubyte').write_bytes(b'')
    x = read_images(tmp_path, gray=True)
    assert x.shape == (10, 1, 9, 13) and close(x[:5, 0], a / 255) and torch.equal(x[:5], x[5:])
    assert len(read_images(tmp_path, n=7)) == 7
    for bad in (content[:-9], content[:9], gzip.compress(b'x' * 99)):
        (tmp_path / 't10k-images-idx3-ubyte').write_bytes(bad)
        with pytest.raises(ValueError, match='t10k.*cannot be read'): read_images(tmp_path / 't10k-images-idx3-ubyte')


def test_shapes(tmp_path):
    big = RNG.integers(0, 256, (48, 80)).astype('u1')
    pillow(big)(tmp_path / 'a.png')
    for crop, side, want in (('fit', 24, big[:, 16:64].reshape(24, 2, 24, 2).mean((1, 3))),
                             ('pixels', 24, big[12:36, 28:52]),
                             ('pixels', (10, 20), big[19:29, 30:50]),
                             ('fit', (24, 40), big.reshape(24, 2, 40, 2).mean((1, 3))),
                             (None, (48, 80), big), ('fit', np.int64(48), big[:, 16:64])):
        assert close(read_images(tmp_path, side, True, crop)[0, 0], want / 255), (crop, side)
    whole = RNG.random((30, 44)).astype('f4') # means are kept where parts do not divide
    tiff(whole)(tmp_path / 'b.tif')
    assert abs(float(read_images(tmp_path / 'b.tif', (7, 11), True)[0].mean()) - whole[:, :].mean()) < .02
    with pytest.raises(ValueError, match='2 shapes .80 x 48, 44 x 30.*side=, at most 30.*image_folder'):
        read_images(tmp_path)
    assert [tuple(x.shape) for x in image_folder(tmp_path)] == [(1, 48, 80), (1, 30, 44)]


@pytest.mark.parametrize('how, words', [
    (dict(side=0), 'side is 0'), (dict(side=2.5), 'side is 2.5'), (dict(side=True), 'side is True'),
                                        (dict(side=(1, 2, 3)), 'side'),
    (dict(side=64), 'expected at least 64 x 64'), (dict(crop='pad'), "crop is 'pad'"),
                                        (dict(crop='pixels'), 'without a side'),
    (dict(side=(9, 12), crop=None), "crop='fit'"), (dict(levels=(1, 1)), 'levels'),
                                        (dict(background=2), 'background is 2')])
def test_options_are_checked(how, words, tmp_path):
    pillow(GRAY8)(tmp_path / 'a.png')
    with pytest.raises(ValueError, match=words): read_images(tmp_path, **how)


def test_what_is_not_there(tmp_path):
    with pytest.raises(ValueError, match='is not there'): read_images(tmp_path / 'none')
    with pytest.raises(ValueError, match='holds no images'): read_images(tmp_path)
    with pytest.raises(ValueError, match='holds no images'): read_images([])
    with pytest.raises(ValueError, match='holds no maps'): read_fields(tmp_path)


# maps

X = RNG.standard_normal((6, 8, 12))
WANT = torch.from_numpy(X)[:, None]


@pytest.mark.parametrize('kind', ['>f4', '<f4', '=f8', '>f8', 'f2', 'g', '>i2', 'i4', '>u4', 'u1', 'i8', 'b', '?'])
def test_every_number_type(kind, tmp_path):
    a = (X * 20).astype(kind) if kind not in ('u1', '?', '>u4') else (abs(X) * 20).astype(kind)
    before = a.copy()
    np.save(tmp_path / 'a.npy', a)
    for source in (a, tmp_path / 'a.npy', str(tmp_path / 'a.npy'), np.load(tmp_path / 'a.npy', mmap_mode='r'), [*a],
                   a[:, None], a[..., ::-1][..., ::-1]):
        x = read_fields(source, fill=False)
        assert x.shape == (6, 1, 8, 12) and x.dtype in (torch.float32, torch.float64)
        assert np.array_equal(x[:, 0].numpy().astype(np.float64), a.astype(np.float64))
    assert np.array_equal(a, before)
    x = read_fields(a, fill=False); x.zero_()
    assert np.array_equal(a, before) # no memory is shared


def test_whole_numbers_keep_their_digits():
    a = np.arange(96).reshape(8, 12) + 2**40
    assert read_fields(a).dtype == torch.float64 and int(read_fields(a)[0, 0, 0, 1] - read_fields(a)[0, 0, 0, 0]) == 1


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64', 'int16', 'uint8', 'int64', 'uint16',
                                   'bool'])
def test_tensors(dtype):
    x = torch.from_numpy(abs(X) * 9).to(getattr(torch, dtype))
    y = read_fields(x, fill=False)
    assert y.shape == (6, 1, 8, 12) and y.is_floating_point() and torch.equal(y[:, 0].double(), x.double())
    assert not read_fields(x.float().requires_grad_()).requires_grad


class Lazy: # as xarray, dask, jax
    shape, dtype = X.shape, X.dtype
    def __array__(self, dtype=None, copy=None): return X if dtype is None else X.astype(dtype)


def several():
    yield X[0]; yield torch.from_numpy(X[1]); yield X[None, 2]; yield WANT[3:5]; yield Lazy.__array__(None)[5]


@pytest.mark.parametrize('source', [Lazy(), lambda: several(), lambda: (m for m in X), lambda: iter(X), X.tolist(),
                                    {'a': X}, {'a': X, 'b': np.arange(3)},
                                    [X[:2], X[2:]], list(WANT), tuple(X),
                                    torch.utils.data.DataLoader(WANT, batch_size=4),
                                    np.ma.masked_array(X, mask=False), X.astype('O').tolist()],
                         ids=lambda v: type(v).__name__)
def test_all_that_holds_maps(source):
    assert torch.equal(read_fields(source() if callable(source) else source).double(), WANT)


def test_the_first_maps():
    taken = []
    def endless():
        while True: taken.append(1); yield X[0]
    assert read_fields(endless(), n=5).shape == (5, 1, 8, 12) and len(taken) == 5
    assert torch.equal(read_fields(X, n=4), WANT[:4]) and torch.equal(read_fields([X[:2], X[2:]], n=3), WANT[:3])
    with pytest.raises(ValueError, match='n is 0'): read_fields(X, n=0)


def test_archives_and_folders(tmp_path):
    np.savez(tmp_path / 'two.npz', a=X, b=X[:, :4], t=np.arange(3))
    np.savez_compressed(tmp_path / 'one.npz', maps=X, t=np.arange(3))
    assert (torch.equal(read_fields(tmp_path / 'one.npz'), WANT)
            and torch.equal(read_fields(tmp_path / 'two.npz', 'a'), WANT))
    with np.load(tmp_path / 'one.npz') as z: assert torch.equal(read_fields(z), WANT)
    with pytest.raises(ValueError, match=r"2 arrays.*name=.*'a' \(6, 8, 12\), 'b' \(6, 4, 12\)"):
        read_fields(tmp_path / 'two.npz')
    with pytest.raises(ValueError, match="no array 'c'.*'a'"): read_fields(tmp_path / 'two.npz', 'c')
    torch.save({'maps': WANT, 'n': torch.zeros(1)}, tmp_path / 'a.pt'); torch.save(WANT, tmp_path / 'b.pt')
    assert torch.equal(read_fields(tmp_path / 'a.pt'), WANT) and torch.equal(read_fields(tmp_path / 'b.pt'), WANT)
    from safetensors.torch import save_file
    save_file({'maps': WANT, 'other': WANT[0, 0].clone()}, tmp_path / 'a.safetensors')
    assert torch.equal(read_fields(tmp_path / 'a.safetensors', 'maps'), WANT)
    (tmp_path / 'maps').mkdir()
    for i, m in enumerate(X): np.save(tmp_path / f'maps/m{2 * i + 5}.npy', m)
    assert torch.equal(read_fields(tmp_path / 'maps'), WANT) # m5 m7 m9 m11
    np.save(tmp_path / 'maps/z.npy', X[0, :4])
    with pytest.raises(ValueError, match=r'map 6 has shape \(4, 12\)'): read_fields(tmp_path / 'maps')


def test_named_columns(tmp_path):
    a = np.zeros((6, 8, 12), [('T', '>f4'), ('Q', '>f4')]); a['Q'] = X
    np.save(tmp_path / 'a.npy', a)
    for s in (a, tmp_path / 'a.npy'):
        assert close(read_fields(s, 'Q')[:, 0], X, 1e-6)
        with pytest.raises(ValueError, match="'T'.*'Q'"): read_fields(s)


MISSING = {'nan': (np.where(X > 2, np.nan, X), X > 2, 'NaN'),
           'infinite': (np.where(X > 2, np.inf, X), X > 2, 'infinite'),
           'masked': (np.ma.masked_greater(X, 2), X > 2, 'masked'),
           '-9999': (np.where(X > 2, -9999., X), X > 2, '-9999'),
           'unseen': (np.where(X > 2, -1.6375e30, X).astype('f4'), X > 2, 'e.30'),
           '-99': (np.where(X > 2, -99, X), X > 2, '-99'),
           'top of a type': ((np.where(X > 2, 32767, X * 100)).astype('i2'), X > 2, '32767'),
           '1e20': (np.where(X > 2, 1e20, X), X > 2, '1e.20')}


@pytest.mark.parametrize('kind', MISSING)
def test_what_is_missing_is_counted_or_returned(kind):
    a, hole, words = MISSING[kind]
    with pytest.raises(ValueError, match=f'of 576 values, in {int(hole.any((1, 2)).sum())} of 6 fields, '
                                         f'{int(hole.sum())} are.*{words}.*masked=True'):
        read_fields(a)
    x, mask = read_fields(a, masked=True)
    assert np.array_equal(mask[:, 0].numpy(), hole) and torch.equal(torch.isnan(x), mask)
    assert close(x[:, 0].numpy()[~hole], np.ma.getdata(a)[~hole])


@pytest.mark.parametrize('hole', [X > 2, X[0] > 1, (X > 1)[:, None], X < -9, np.arange(12) + 0 * X[0] > 7])
@pytest.mark.parametrize('side', [1, 2, 3, 4, 8])
def test_squares_without_holes(hole, side):
    full = np.broadcast_to(hole.reshape(-1, 8, 12), X.shape)
    cells = [(x[i:i + side, j:j + side], m[i:i + side, j:j + side]) for x, m in zip(X, full)
             for i in range(0, 9 - side, side) for j in range(0, 13 - side, side)]
    want = [x for x, m in cells if not m.any()]
    if not want:
        with pytest.raises(ValueError, match='masked; expected whole maps'): read_fields(X, mask=hole, side=side)
        return
    for given in (hole, hole.astype(int), torch.from_numpy(hole.copy()), hole.tolist()):
        got = read_fields(X, mask=given, side=side)
        assert got.shape == (len(want), 1, side, side) and np.array_equal(got[:, 0].numpy().tolist(), want)
    assert torch.equal(read_fields(np.ma.masked_array(X, full), side=side), got)
    x, lost = read_fields(X, mask=hole, side=side, masked=True)
    assert np.array_equal(lost[:, 0].numpy(), [m for _, m in cells]) and torch.equal(torch.isnan(x), lost)

def test_squares_left_out_for_a_guessed_fill_value_are_counted():
    a = RNG.standard_normal((3, 16, 16)).astype('f4')
    a[0, 1, 1:3] = a[2, 9, 9] = -9999.
    with pytest.warns(UserWarning, match='2 of 12 squares are left out because they hold -9999.0, far outside'):
        assert len(read_fields(a, side=8)) == 10
    a[0, 0, 0] = np.nan # that square has a hole of another kind too
    with pytest.warns(UserWarning, match='1 of 12 squares'): assert len(read_fields(a, side=8)) == 10
    for how in (dict(fill=-9999.), dict(fill=False), dict(masked=True)): # told, or nothing is left out for it
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            read_fields(a, side=8, **how)


@pytest.mark.parametrize('how, words', [
    (dict(mask=X > 5, side=16), 'side is 16'), (dict(side=2.5), 'side is 2.5'), (dict(side=0), 'side is 0'),
    (dict(mask=X), 'other than 0 and 1'), (dict(mask=X[0, 0] > 0), r'mask has shape \(12,\)'),
    (dict(mask=(X > 0)[:2]), r'mask has shape \(2, 8, 12\)'), (dict(mask=X > -9, side=4), 'masked'),
    (dict(mask='no'), 'mask')])
def test_masks_and_sides_that_are_none(how, words):
    with pytest.raises(ValueError, match=words): read_fields(X, **how)

def test_no_fill_value_is_seen_where_there_is_none():
    counts = RNG.poisson(.5, (6, 8, 12)); clipped = X.clip(-1, 1); sparse = np.where(X > 1.5, X + 100, 0.)
    heavy = np.random.default_rng(1).standard_cauchy((6, 8, 12))
    for a in (counts, clipped, sparse, heavy, X > 0, np.sign(X), np.round(X), np.exp(3 * X)):
        assert read_fields(a).shape == (6, 1, 8, 12)
    assert (far_repeated(torch.tensor([5., 5., *range(100, 130)])) == 5.
            and far_repeated(torch.tensor([1., *range(100, 130)])) is None)
    a = np.where(X > 2, -9999., X)
    assert torch.equal(read_fields(a, fill=False)[:, 0], torch.from_numpy(a))
    with pytest.raises(ValueError, match='7.0, the fill value'): read_fields(np.where(X > 2, 7., X), fill=7.)


@pytest.mark.parametrize('bad, words', [
    (X[0, 0], r'shape \(12,\).*HEALPix'), (X[None, None], r'shape \(1, 1, 6, 8, 12\)'),
                                        (np.zeros((6, 3, 8, 8)), r'x\[:, :1\]'),
    (np.zeros((8, 8, 3)), 'looks like channels'), (np.zeros((6, 8, 8, 1)), 'looks like channels'),
                                        (X + 1j, 'complex128.*real and imaginary'),
    (torch.zeros(3, 8, 8, dtype=torch.complex64), 'complex64'), (torch.zeros(8, 8).to_sparse(), 'dense'),
                                        (3., 'a float'), (b'abc', 'a bytes'),
    (None, 'a NoneType'), ([], 'no maps'), (iter([]), 'no maps'), (X[:0], 'no maps'), ({}, '0 arrays'),
                                        ([(X[0], 1)], 'labels|list of tuple'),
    (np.array([['a', 'b']]), 'real numbers'), (X.astype('O'), 'type object'),
                                        (np.zeros((3, 4, 5), 'M8[s]'), 'datetime'),
    ([X[0], X[1, :4]], r'map 1 has shape \(4, 12\)'), ([[1, 2], [3]], 'list of list'),
                                        (zip(X, range(6)), 'leave the labels out'),
    (object(), 'an? object'), ([torch.nn.Linear(2, 2)], 'list of Linear')],
    ids=lambda v: v[:20] if isinstance(v, str) else type(v).__name__)
def test_bad_maps(bad, words):
    with pytest.raises(ValueError, match=words): read_fields(bad)


@pytest.mark.parametrize('name, content, words', [
    ('a.npy', b'\x93NUMPY\x01\x00', 'a.npy cannot be read'), ('a.npz', b'PK\x03\x04 no zip', 'a.npz cannot be read'),
                                                  ('a.csv', b'1,2,3', 'no file of maps'),
    ('a.png', b'\x89PNG\r\n\x1a\n', 'read_images'), ('a.npy', b'', 'no file of maps'),
                                                  ('a.mat', b'MATLAB 5.0 MAT-file', 'no file of maps'),
    ('a.nc', b'CDF\x01', 'no file of maps'), ('a.safetensors', b'\x08\0\0\0\0\0\0\0no json!',
                                              'a.safetensors cannot be read')])
def test_bad_files(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words): read_fields(tmp_path / name)


def test_pickles_are_not_opened(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([{}, X], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match='a.npy cannot be read'): read_fields(tmp_path / 'a.npy')
    with zipfile.ZipFile(tmp_path / 'a.pt', 'w') as z: z.writestr('a/data.pkl', b'cos\nsystem\n(S"true"\ntR.')
    with pytest.raises(ValueError, match='a.pt cannot be read'): read_fields(tmp_path / 'a.pt')


# files of other libraries

def fits(a, *cards, extension=False
        ): # a FITS unit by hand: cards of 80 characters and big-endian numbers, in blocks of 2,880
    bits = {'f': -8, 'i': 8, 'u': 8}[a.dtype.kind] * a.dtype.itemsize
    first = "XTENSION= 'IMAGE   '" if extension else 'SIMPLE  =                    T'
    text = [first, f'BITPIX  = {bits:20d}', f'NAXIS   = {a.ndim:20d}',
            *[f'NAXIS{i + 1}  = {n:20d}' for i, n in enumerate(a.shape[::-1])],
            *(['PCOUNT  =                    0', 'GCOUNT  =                    1'] if extension else []), *cards, 'END']
    head, data = ''.join(t.ljust(80) for t in text).encode(), a.astype(a.dtype.newbyteorder('>')).tobytes()
    return head.ljust(-(-len(head) // 2880) * 2880) + data.ljust(-(-len(data) // 2880) * 2880, b'\0')


def test_without_astropy_or_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    import sys
    for module, name, content in (('astropy', 'a.fits', fits(X.astype('f4'))), ('h5py', 'a.h5', b'\x89HDF\r\n\x1a\n')):
        (tmp_path / name).write_bytes(content)
        for k in [k for k in sys.modules if k.split('.')[0] == module] + [module, f'{module}.io.fits']:
            monkeypatch.setitem(sys.modules, k, None)
        with pytest.raises(ImportError, match=f'{name}.*pip install {module}'): read_fields(tmp_path / name)


def test_fits(tmp_path):
    pytest.importorskip('astropy')
    (tmp_path / 'a.fits').write_bytes(fits(X.astype('f4'), "BUNIT   = 'K       '"))
    assert (close(read_fields(tmp_path / 'a.fits')[:, 0], X, 1e-6)
            and next(opened(tmp_path / 'a.fits'))[1]['units'] == 'K')
    counts = (X * 100).astype('i2'); counts[0, 0, :3] = -32768
    (tmp_path / 'b.fits').write_bytes(fits(counts, 'BSCALE  =                 0.01', 'BZERO   =                  5.0',
                                           'BLANK   =               -32768'))
    x, mask = read_fields(tmp_path / 'b.fits', masked=True)
    assert int(mask.sum()) == 3 and close(x[1:, 0], counts[1:] * .01 + 5, 1e-5)
    (tmp_path / 'blank.fits').write_bytes(fits(counts, 'BLANK   =               -32768'))
    assert int(read_fields(tmp_path / 'blank.fits', masked=True)[1].sum()) == 3
    unsigned = GRAY16.astype('i4') - 32768 # the convention of unsigned numbers
    (tmp_path / 'u.fits').write_bytes(fits(unsigned.astype('i2'), 'BZERO   =                32768'))
    assert np.array_equal(read_fields(tmp_path / 'u.fits')[0, 0].numpy(), GRAY16)
    empty = b''.join(t.ljust(80) for t in (b'SIMPLE  =                    T', b'BITPIX  =                    8',
                                           b'NAXIS   =                    0', b'END')).ljust(2880)
    units = [fits(X.astype('f8') * k, f"EXTNAME = '{n:8s}'", extension=True) for n, k in (('SCI', 1), ('ERR', 2))]
    (tmp_path / 'c.fits').write_bytes(empty + b''.join(units))
    with pytest.raises(ValueError, match="'SCI'.*'ERR'"): read_fields(tmp_path / 'c.fits')
    assert (close(read_fields(tmp_path / 'c.fits', 'ERR')[:, 0], 2 * X)
            and close(read_fields(tmp_path / 'c.fits', 1)[:, 0], X))
    import gzip
    (tmp_path / 'd.fits.gz').write_bytes(gzip.compress(fits(X[0])))
    assert close(read_fields(tmp_path / 'd.fits.gz')[0, 0], X[0])
    (tmp_path / 'e.fits').write_bytes(fits(X.astype('f4'))[:3200])
    with pytest.warns(UserWarning, match='truncated'), pytest.raises(ValueError, match='e.fits cannot be read'):
        read_fields(tmp_path / 'e.fits')
    from astropy.io import fits as F
    with F.open(tmp_path / 'c.fits') as f:
        assert close(read_fields(f['SCI'])[:, 0], X) and close(read_fields(f[2].data)[:, 0], 2 * X)


def test_hdf5(tmp_path):
    h5py = pytest.importorskip('h5py')
    with h5py.File(tmp_path / 'a.h5', 'w') as f:
        d = f.create_dataset('run/1/maps', data=X.astype('>f4'), chunks=(1, 8, 12), compression='gzip')
        d.attrs['units'] = 'mK'
        f['x'] = np.arange(12)
    assert close(read_fields(tmp_path / 'a.h5')[:, 0], X, 1e-6) and next(opened(tmp_path / 'a.h5'))[1]['units'] == 'mK'
    with h5py.File(tmp_path / 'a.h5') as f:
        for s in (f, f['run'], f['run/1/maps'], f['run/1/maps'][:]): assert close(read_fields(s)[:, 0], X, 1e-6)
    with h5py.File(tmp_path / 'b.nc', 'w') as f: # as netCDF packs
        packed = (X * 100).round().astype('i2'); packed[0, 0, :3] = 50
        d = f.create_dataset('t', data=packed)
        d.attrs.update(scale_factor=[.01], add_offset=273.15, _FillValue=np.int16(50))
        e = f.create_dataset('w', data=np.where(X > 2, 5., X)); e.attrs['missing_value'] = np.array([5.])
    x, mask = read_fields(tmp_path / 'b.nc', 't', masked=True)
    hole = packed == 50
    assert np.array_equal(mask[:, 0].numpy(), hole) and close(x[:, 0].numpy()[~hole], X[~hole] + 273.15, .006)
    assert np.array_equal(read_fields(tmp_path / 'b.nc', 'w', masked=True)[1][:, 0].numpy(), X > 2)
    with pytest.raises(ValueError, match="'t'.*'w'"): read_fields(tmp_path / 'b.nc')
    (tmp_path / 'c.h5').write_bytes((tmp_path / 'a.h5').read_bytes()[:700])
    with pytest.raises(ValueError, match='c.h5 cannot be read'): read_fields(tmp_path / 'c.h5')


def test_xarray_and_quantities():
    xarray = pytest.importorskip('xarray')
    a = xarray.DataArray(X, dims=('t', 'y', 'x'), attrs={'units': 'm'})
    assert torch.equal(read_fields(a), WANT) and next(opened(a))[1]['units'] == 'm'
    d = xarray.Dataset({'h': a, 'lat': ('y', np.arange(8))})
    assert torch.equal(read_fields(d), WANT) and torch.equal(read_fields(d, 'h'), WANT)
    u = pytest.importorskip('astropy.units')
    assert torch.equal(read_fields(X * u.K), WANT) and next(opened(X * u.K))[1]['units'] == 'K'


def test_buffers_and_devices():
    assert read_fields(memoryview(X)).shape == (6, 1, 8, 12) if hasattr(memoryview(X), '__array__') else True
    with pytest.raises(ValueError, match='BytesIO'): read_fields([io.BytesIO(b'')])
