// Explorables: what a reader moves. First the numbers, which the tests compare with the library's, then the drawing.
(() => {
const range = n => Array.from({ length: n }, (_, i) => i)
const sum = a => a.reduce((s, v) => s + v, 0), mean = a => sum(a) / a.length
const geom = (a, b, n) => range(n).map(i => a * (b / a) ** (i / (n - 1)))

function random(seed) { // standard normals: mulberry32 and Box-Muller
  const uniform = () => {
    let t = seed = seed + 0x6D2B79F5 | 0
    t = Math.imul(t ^ t >>> 15, t | 1)
    t ^= t + Math.imul(t ^ t >>> 7, t | 61)
    return ((t ^ t >>> 14) >>> 0) / 4294967296
  }
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
}

// ---- steps: what a sampler with the exact score makes of a mode of variance lam
const edm = (N, top, low, rho) => [...range(N).map(i =>
  (top ** (1 / rho) + i / Math.max(N - 1, 1) * (low ** (1 / rho) - top ** (1 / rho))) ** rho), 0]
const schedules = N => [7, 20].flatMap(rho => geom(.004, .5,
  14).flatMap(a => geom(5, 150, 9).map(b => edm(N, b, a, rho))))
const uniformTimes = (N, T) => range(N + 1).map(i => i * T / N)

function respond(lam, s, solver) { // -> [variance, share of the mean]; s: levels, or times of euler_maruyama
  const N = s.length - 1
  let f = 1, g = 0, last = null
  if (solver === 'euler_maruyama') {
    let v = 1
    for (let k = N; k > 0; k--) {
      const d = s[k] - s[k - 1], r = 2 * d / (1 + (lam - 1) * Math.exp(-2 * s[k])), a = 1 + d - r
      v = a * a * v + 2 * d
      g = a * g + r * Math.exp(-s[k])
    }
    return [v, g]
  }
  for (let k = 0; k < N; k++) {
    const a = s[k], b = s[k + 1], w = lam / (lam + a * a), D = [w * f, w * g + 1 - w], r = b / a
    let E = D
    if (k === N - 1) { [f, g] = D; break }
    if (solver === 'heun') {
      const e = [r * f + (1 - r) * D[0], r * g + (1 - r) * D[1]], u = lam / (lam + b * b), h = (b - a) / 2
      f += h * ((f - D[0]) / a + (e[0] - u * e[0]) / b)
      g += h * ((g - D[1]) / a + (e[1] - u * e[1] - 1 + u) / b)
      continue
    }
    if (solver === 'dpm_solver_2m' && k) {
      const c = Math.log(a / b) / (2 * Math.log(s[k - 1] / a))
      E = [(1 + c) * D[0] - c * last[0], (1 + c) * D[1] - c * last[1]]
    }
    f = r * f + (1 - r) * E[0]; g = r * g + (1 - r) * E[1]; last = D
  }
  return [(1 + s[0] * s[0]) * f * f, g]
}

function divergence(m, L, s, solver) { // nats a pixel; m: {lam, count, mean2}
  let total = 0
  for (let i = 0; i < m.lam.length; i++) {
    const [v, g] = respond(m.lam[i], s, solver), r = m.lam[i] / v
    total += m.count[i] * (r - 1 - Math.log(r)) + m.mean2[i] * (1 - g) ** 2 / v
  }
  return isFinite(total) ? total / 2 / (L * L) : Infinity
}

function best(m, L, N, solver) { // of the schedules at hand the one that leaves least: {kl, s}
  const all = solver === 'euler_maruyama' ? geom(.5, 12, 40).map(T => uniformTimes(N, T)) : schedules(N)
  return all.reduce((b, s) => { const kl = divergence(m, L, s, solver); return kl < b.kl ? { kl, s } : b },
    { kl: Infinity, s: all[0] })
}

// ---- collapse: a wavelet coefficient of a translated signal of 128 points
const n = 128, xi = Math.PI / 4, omega = range(n).map(k => 2 * Math.PI * (k < n / 2 ? k : k - n) / n)
function signal(seed) { // its Fourier transform: [re, im]; a mean square of 1 a point
  const z = random(seed), x = range(n).map(z), norm = Math.hypot(...x)
  return [0, 1].map(im => range(n).map(k => sum(x.map((v, u) => v * Math.sqrt(n) / norm * (im ? -Math.sin(omega[k] * u)
    : Math.cos(omega[k] * u))))))
}
const wavelet = sigma => { // its Fourier transform, of unit norm
  const h = omega.map(w => Math.exp(-((w - xi) ** 2) / (2 * sigma * sigma))), c = Math.sqrt(n / sum(h.map(v => v * v)))
  return h.map(v => v * c)
}
const spread = sigma => Math.sqrt(mean(wavelet(sigma).map((h, k) => (h * (omega[k] - xi)) ** 2)))
function coefficient([re, im], sigma, tau) { // at position 0 of the signal moved by tau
  const h = wavelet(sigma)
  return [mean(h.map((v, k) => v * (re[k] * Math.cos(omega[k] * tau) + im[k] * Math.sin(omega[k] * tau)))),
    mean(h.map((v, k) => v * (im[k] * Math.cos(omega[k] * tau) - re[k] * Math.sin(omega[k] * tau))))]
}
const RHO = {
  none: z => z, modulus: ([a, b]) => [Math.hypot(a, b), 0],
  threshold: ([a, b], t) => { const r = Math.hypot(a, b), k = r > t ? 1 - t / r : 0; return [a * k, b * k] },
}
function fisher(a, b) { // distance of the means over the spread about them
  const m = [a, b].map(c => [0, 1].map(i => mean(c.map(z => z[i]))))
  const within = mean([a, b].flatMap((c, k) => c.map(z => (z[0] - m[k][0]) ** 2 + (z[1] - m[k][1]) ** 2)))
  return Math.hypot(m[0][0] - m[1][0], m[0][1] - m[1][1]) / Math.sqrt(within + 1e-12)
}

// ---- clouds: random features of points on a curve, and the rotation between two networks
const points = range(24).map(i => { const t = 2 * Math.PI * i / 24;
  return [Math.cos(t) + .5 * Math.cos(2 * t), Math.sin(t) - .5 * Math.sin(2 * t), .6 * Math.sin(3 * t)] })
const weights = (width, seed) => { const z = random(seed * 7919 + width);
  return range(width).map(() => [z(), z(), z()]) }
const features = W => points.map(x => W.map(w => Math.max(0, w[0] * x[0] + w[1] * x[1]
  + w[2] * x[2]) / Math.sqrt(W.length)))
const product = (A, B) => A.map(a => B.map(b => { let s = 0; for (let k = 0; k < a.length; k++) s += a[k] * b[k];
  return s })) // A B^T
const transpose = A => A[0].map((_, j) => A.map(r => r[j]))

function eigen(S) { // symmetric, by Jacobi's rotations -> {values, vectors: rows}, from the largest
  const A = S.map(r => [...r]), m = A.length, V = range(m).map(i => range(m).map(j => +(i === j)))
  for (let sweep = 0; sweep < 12; sweep++) {
    let off = 0
    for (let p = 0; p < m; p++) for (let q = p + 1; q < m; q++) {
      off += A[p][q] ** 2
      if (Math.abs(A[p][q]) < 1e-300) continue
      const h = (A[q][q] - A[p][p]) / (2 * A[p][q]), t = (h < 0 ? -1 : 1) / (Math.abs(h) + Math.hypot(h, 1)),
        c = 1 / Math.hypot(t, 1), s = t * c
      for (let k = 0; k < m; k++) { const x = A[k][p], y = A[k][q]; A[k][p] = c * x - s * y; A[k][q] = s * x + c * y }
      for (let k = 0; k < m; k++) { const x = A[p][k], y = A[q][k]; A[p][k] = c * x - s * y; A[q][k] = s * x + c * y }
      for (let k = 0; k < m; k++) { const x = V[p][k], y = V[q][k]; V[p][k] = c * x - s * y; V[q][k] = s * x + c * y }
    }
    if (off < 1e-24 * sum(A.map((r, i) => r[i] ** 2))) break
  }
  const by = range(m).sort((i, j) => A[j][j] - A[i][i])
  return { values: by.map(i => A[i][i]), vectors: by.map(i => V[i]) }
}
const root = e => range(e.values.length).map(i => range(e.values.length).map(j =>
  sum(e.values.map((v, k) => Math.sqrt(Math.max(v, 0)) * e.vectors[k][i] * e.vectors[k][j]))))

// Features (points, n) of two networks -> how far G is from F after the best rotation, and before.
function align(F, G) {
  const a = eigen(product(F, F)), b = eigen(product(G, G)), ra = root(a), rb = root(b)
  const B = product(ra, rb), e = eigen(product(transpose(B), transpose(B))),
    s = e.values.map(v => Math.sqrt(Math.max(v, 0)))
  const u = s.map((v, k) => v > 1e-10 * s[0] ? B.map(r => sum(r.map((x, i) => x * e.vectors[k][i])) / v) : null)
  const axes = [1, 2].map(k => a.vectors[k]),
    low = [1, 2].map(k => Math.sqrt(a.values[k])) // the first is the mean, or nearly
  const cross = product(G, F)
  const seen = {
    own: points.map((_, i) => axes.map((v, k) => low[k] * v[i])),
    before: cross.map(r => axes.map((v, k) => sum(r.map((x, j) => x * v[j])) / low[k])),
    after: rb.map(r => axes.map(ek => sum(u.map((uk, k) => uk
      ? sum(r.map((x, j) => x * e.vectors[k][j])) * sum(uk.map((x, j) => x * ek[j])) : 0)))),
  }
  const energy = sum(a.values), other = sum(b.values)
  return { ...seen, error: (energy + other - 2 * sum(s)) / energy,
    apart: (energy + other - 2 * sum(cross.map((r, i) => r[i]))) / energy }
}

// ---- denoisers: bias-free convolutions, a byte a weight
const bytes = b => [...atob(b)].map(c => c.charCodeAt(0))
const kernels = layers => layers.map(({ shape: [out, inner, size], scale, bytes: b }) => ({ out, inner, size,
  w: Float32Array.from(bytes(b), (v, i) => (v << 24 >> 24) * scale[Math.floor(i / (inner * size * size))]) }))

function denoise(net, y, side) { // kernels, side * side numbers -> as many
  let x = [Float32Array.from(y)]
  net.forEach(({ out, inner, size, w }, layer) => {
    const half = size >> 1
    x = range(out).map(o => {
      const z = new Float32Array(side * side)
      for (let c = 0; c < inner; c++) for (let a = -half; a <= half; a++) for (let b = -half; b <= half; b++) {
        const v = w[((o * inner + c) * size + a + half) * size + b + half], from = x[c], left = Math.max(0, -b),
          right = Math.min(side, side - b)
        for (let i = Math.max(0, -a); i < Math.min(side, side - a); i++)
          for (let j = left, k = i * side, m = (i + a) * side + b; j < right; j++) z[k + j] += v * from[m + j]
      }
      if (layer && layer < net.length - 1) for (let k = 0; k < z.length; k++) if (z[k] < 0) z[k] = 0
      return z
    })
  })
  return x[0]
}
const decibels = (x, y) => -10 * Math.log10(mean(range(x.length).map(i => (x[i] - y[i]) ** 2)))

const numbers = { kernels, denoise, decibels, edm, schedules, uniformTimes, respond, divergence, best, signal, wavelet, spread, coefficient, RHO,
  fisher, points, weights, features, align, xi }
if (typeof module !== 'undefined') { module.exports = numbers; return }

// ---- drawing
const make = (name, attrs = {}, ...inner) => {
  const e = document.createElementNS(/^(svg|g|path|line|rect|circle|text|title)$/.test(name)
    ? 'http://www.w3.org/2000/svg' : 'http://www.w3.org/1999/xhtml', name)
  for (const k in attrs) e.setAttribute(k, attrs[k])
  e.append(...inner)
  return e
}
const say = v => Number.isInteger(v) && Math.abs(v) < 1e4 ? `${v}` :
  Math.abs(v) >= 1e4 || Math.abs(v) < 1e-3 ? v.toExponential(0).replace('e+', 'e') : `${+v.toPrecision(2)}`
const W = 400, left = 52, right = 12, top = 14, bottom = 40

function even({ from, to }) { // about five round numbers
  const raw = (to - from) / 4, p = 10 ** Math.floor(Math.log10(raw)), s = [1, 2, 5, 10].find(m => m * p >= raw) * p
  return range(Math.floor(to / s) - Math.ceil(from / s) + 1).map(k => (k + Math.ceil(from / s)) * s)
}

function chart({ title, x, y, lines = [], dots = [], bars = [], bands = [], marks = [], pick, square }) {
  const H = square ? 390 : 270
  const at = (a, v) => a.log ? Math.log(v / a.from) / Math.log(a.to / a.from) : (v - a.from) / (a.to - a.from)
  const inside = (a, v) => Math.abs(at(a, v) - .5) < .501
  const clip = v => Math.max(-.02, Math.min(1.02, v))
  const px = v => left + clip(at(x, v)) * (W - left - right), py = v => H - bottom - clip(at(y, v)) * (H - top - bottom)
  const ticks = a => a.ticks || (a.log
    ? range(9).map(k => 10 ** (k + Math.ceil(Math.log10(a.from) - 1e-9))).filter(v => v <= a.to * 1.001) :
    even(a))
  const svg = make('svg', { viewBox: `0 0 ${W} ${H}`, role: 'img', 'aria-label': title })
  for (const v of ticks(x)) svg.append(make('line',
    { x1: px(v), x2: px(v), y1: H - bottom, y2: H - bottom + 4, class: 'axis' }),
      make('text', { x: px(v), y: H - bottom + 17, 'text-anchor': 'middle' }, say(v)))
  for (const v of ticks(y)) svg.append(make('line', { x1: left, x2: W - right, y1: py(v), y2: py(v), class: 'grid' }),
    make('text', { x: left - 6, y: py(v) + 4, 'text-anchor': 'end' }, say(v)))
  svg.append(make('line', { x1: left, x2: W - right, y1: H - bottom, y2: H - bottom, class: 'axis' }),
    make('text', { x: (left + W - right) / 2, y: H - 5, 'text-anchor': 'middle' }, x.label),
    make('text', { x: 0, y: 0, 'text-anchor': 'middle',
      transform: `translate(11 ${(top + H - bottom) / 2}) rotate(-90)` }, y.label))
  for (const b of bands) svg.append(make('rect',
    { x: px(b.from), width: Math.max(1, px(b.to) - px(b.from)), y: H - bottom - 13 * (b.row + 1), height: 10,
      class: 'band ' + b.as }))
  for (const b of bars) svg.append(make('rect',
    { x: px(b.from), width: Math.max(.5, px(b.to) - px(b.from) - .5), y: py(b.v),
      height: Math.max(0, H - bottom - py(b.v)), class: b.as }))
  for (const l of lines) svg.append(make('path',
    { d: 'M' + l.at.filter(([a, b]) => inside(x, a) && inside(y, b))
      .map(([a, b]) => `${px(a).toFixed(1)},${py(b).toFixed(1)}`).join('L'), class: 'line ' + l.as }))
  for (const d of dots) svg.append(make('circle',
    { cx: px(d.at[0]), cy: py(d.at[1]), r: d.r || 4, class: d.as, ...(d.style ? { style: d.style } : {}) }))
  for (const m of marks) svg.append(make('text',
    { x: px(m.at[0]) + (m.dx || 0), y: py(m.at[1]) + (m.dy || -6), class: 'mark ' + m.as,
      'text-anchor': m.anchor || 'middle' }, m.says))
  if (pick) {
    const ask = e => { const box = svg.getBoundingClientRect(),
      u = ((e.clientX - box.left) * W / box.width - left) / (W - left - right);
        pick(x.log ? x.from * (x.to / x.from) ** u : x.from + u * (x.to - x.from)) }
    svg.addEventListener('pointerdown', ask)
    svg.addEventListener('pointermove', e => { if (e.buttons) ask(e) })
    svg.classList.add('pick')
  }
  return svg
}

const contrast = b => 127 / (2.5 * Math.sqrt(mean(bytes(b).map(v => (v - 128) ** 2))))

function shade(values, side, label) { // numbers from 0 to 255, grey
  const c = make('canvas', { width: side, height: side, role: 'img', 'aria-label': label }), p = c.getContext('2d'),
    im = p.createImageData(side, side)
  values.forEach((v, i) => im.data.set([v, v, v, 255], 4 * i))
  p.putImageData(im, 0, 0)
  return c
}
const picture = (b, side, label, gain = 1) => // base64 of one byte a pixel; contrast about the middle
  shade(bytes(b).map(v => 128 + gain * (v - 128)), side, label)

async function grey(file, side) { // the centred square of a picture file, from 0 to 1
  const im = await createImageBitmap(file), n = Math.min(im.width, im.height),
    p = make('canvas', { width: side, height: side }).getContext('2d')
  p.drawImage(im, (im.width - n) / 2, (im.height - n) / 2, n, n, 0, 0, side, side)
  const d = p.getImageData(0, 0, side, side).data
  return range(side * side).map(i => (.2125 * d[4 * i] + .7154 * d[4 * i + 1] + .0721 * d[4 * i + 2]) / 255)
}

// A control is a list of values that a slider walks, or names of which one is chosen.
function panel(figure, controls, draw) {
  const form = make('form', { class: 'controls' }), parts = make('div', { class: 'parts' }),
    told = make('output', { 'aria-live': 'polite' }), state = {}, inputs = {}
  const set = (name, value) => { const i = controls[name].values.indexOf(value);
    if (i >= 0 && state[name] !== value) { state[name] = value; inputs[name].value = controls[name].slide ? i : value;
      show() } }
  const show = () => {
    for (const k in controls) if (controls[k].slide) { const t = controls[k].says ? controls[k].says(state[k])
      : say(state[k]); inputs[k].nextSibling.textContent = t; inputs[k].setAttribute('aria-valuetext', t) }
    const { panels, text } = draw(state, set)
    parts.replaceChildren(...panels); told.textContent = text
  }
  for (const [k, c] of Object.entries(controls)) {
    state[k] = c.values.includes(c.start) ? c.start : c.values[0]
    const field = c.slide ? make('input',
      { type: 'range', name: k, min: 0, max: c.values.length - 1, step: 1, value: c.values.indexOf(state[k]) }) :
      make('select', { name: k }, ...c.values.map(v => make('option',
        { value: v, ...(v === state[k] ? { selected: '' } : {}) }, c.names?.[v] || v)))
    inputs[k] = field
    field.addEventListener('input', () => { state[k] = c.slide ? c.values[+field.value] : field.value; show() })
    form.append(make('label', {}, c.label + ' ', field, ...(c.slide ? [make('span', { 'aria-hidden': 'true' })] : [])))
  }
  form.addEventListener('submit', e => e.preventDefault())
  figure.append(form, parts, told)
  show()
  return { state, set }
}
const nearest = (values, v) => values.reduce((b, w) => Math.abs(Math.log(w / v)) < Math.abs(Math.log(b / v)) ? w : b)
const unique = (rows, k) => [...new Set(rows.map(r => r[k]))]
const percent = v => v === 0 ? 'none' : v < .001 ? 'less than 0.1 %' : `${(100 * v).toFixed(v < .1 ? 1 : 0)} %`

const EXPLORABLES = {
  steps(figure, data) {
    const names = { euler_maruyama: 'Euler–Maruyama, uniform steps (the paper)', ddim: 'DDIM', heun: 'Heun',
      dpm_solver_2m: 'DPM-Solver++(2M)' }
    const sides = unique(data.rows, 'L')
    panel(figure, {
      solver: { label: 'solver', values: Object.keys(names), names },
      eta: { label: 'spectrum: exponent η', slide: true, values: unique(data.rows, 'eta'), start: 2 },
      L: { label: 'side L', slide: true, values: sides, start: 64 },
      N: { label: 'steps N', slide: true, values: [4, 8, 16, 32, 64, 128], start: 16 },
    }, ({ solver, eta, L, N }, set) => {
      const mine = data.rows.filter(r => r.eta === eta), row = mine.find(r => r.L === L), kinds = ['plain', 'wavelets']
      const ends = k => [Math.min(...row[k].lam.filter((_, i) => row[k].count[i] > .5)),
        Math.max(...row[k].lam.filter((_, i) => row[k].count[i] > .5))]
      const got = Object.fromEntries(kinds.map(k => [k, best(row[k], L, N, solver)])), grid = geom(1e-4, 1e4, 121)
      const most = Math.max(...mine.map(r => r.plain.needs[solver])), ceil = 10 ** Math.ceil(Math.log10(most * 1.3))
      const need = chart({ title: 'Steps needed against the side, for the whole field and for wavelet coefficients',
        pick: v => set('L', nearest(sides, v)),
        x: { from: 14, to: 300, log: true, label: 'side L of the field', ticks: sides },
        y: { from: 1, to: ceil, log: true, label: 'evaluations needed' },
        lines: kinds.map(k => ({ at: mine.map(r => [r.L, r[k].needs[solver]]), as: k })),
        dots: kinds.map(k => ({ at: [L, row[k].needs[solver]], as: k, r: 5 })),
        marks: kinds.map((k, i) => ({ at: [256, mine.at(-1)[k].needs[solver]], as: k, says: k, anchor: 'end',
          dy: i ? 16 : -8 })) })
      const why = chart({ title: 'Variance that N steps give a mode, over the wanted one, against the wanted variance',
        x: { from: 1e-4, to: 1e4, log: true, label: 'variance wanted', ticks: [1e-4, 1e-2, 1, 1e2, 1e4] },
        y: { from: .25, to: 4, log: true, label: 'variance given, over wanted', ticks: [.25, .5, 1, 2, 4] },
        bands: kinds.map((k, i) => ({ from: ends(k)[0], to: ends(k)[1], as: k, row: 1 - i })),
        lines: [{ at: [[1e-4, 1], [1e4, 1]], as: 'truth' },
          ...kinds.map(k => ({ at: grid.filter(v => v >= ends(k)[0] && v <= ends(k)[1]).map(v => [v,
            respond(v, got[k].s, solver)[0] / v]), as: k }))] })
      const ratio = k => say(ends(k)[1] / ends(k)[0]), needs = k => row[k].needs[solver]
      return { panels: [need, why], text: `At η = ${eta} and side ${L}, ${needs('plain')} evaluations for the whole ` +
        `field and ${needs('wavelets')} a scale for wavelet coefficients reach ${data.eps} nats a pixel. ` +
        `${N} steps leave ${say(got.plain.kl)} and ${say(got.wavelets.kl)}. ` +
        `Variances range over a factor of ${ratio('plain')} and ${ratio('wavelets')}.` }
    })
  },

  hessians(figure, data) {
    const names = { '1 whole': 'the whole field', '1 octave': 'details of the finest octave',
      '1 half': 'of half an octave', '1 quarter': 'of a quarter octave', '2 octave': 'of the second octave (learned)',
      '3 octave': 'of the third octave (learned)' }
    panel(figure, {
      band: { label: 'what is left, given the rest', values: Object.keys(names), names },
      beta: { label: 'inverse temperature β', slide: true, values: data.rows.map(r => r.beta), start: .68,
        says: b => `${b}${b < .68 ? ' disordered' : b === .68 ? ' critical' : ' ordered'}` },
    }, ({ band, beta }) => {
      const row = data.rows.find(r => r.beta === beta), s = row.spectra[band], step = (s.high - s.low) / s.share.length,
        most = 100 * Math.max(...s.share)
      const bars = s.share.map((v, i) => ({ from: s.low + i * step, to: s.low + (i + 1) * step, v: 100 * v,
        as: s.low + (i + .5) * step < 0 ? 'bad' : 'model' }))
      const spectrum = chart({ title: `Histogram of the eigenvalues of the Hessian of ${names[band]}`,
        x: { from: Math.min(s.low, -.05 * s.high), to: s.high, label: 'eigenvalue: curvature of the energy' },
        y: { from: 0, to: most * 1.1, label: '% of directions' },
        bars, lines: [{ at: [[0, 0], [0, most * 1.1]], as: 'truth' }] })
      const field = make('div', { class: 'field' }, picture(row.field, data.side, `A field at beta ${beta}`),
        make('span', {}, `a field at β = ${beta}`))
      return { panels: [field, spectrum],
        text: `Negative curvature: ${percent(s.negative)} of the directions; least eigenvalue ${say(s.least)}. ` +
          (s.convex === 1 ? 'At every field that was tried' : s.convex ? `At ${percent(s.convex)} of the fields` :
            'At no field') + ' the energy is convex in all directions of this band.' }
    })
  },

  frames(figure, data) {
    const steps = data.rows[0].frames.length, last = 2 * steps - 1
    const moved = panel(figure, {
      beta: { label: 'inverse temperature β', slide: true, values: unique(data.rows, 'beta'), start: .68 },
      seed: { label: 'sample', slide: true, values: unique(data.rows, 'seed'), says: s => `${s + 1}` },
      frame: { label: 'frame', slide: true, values: range(last + 1), start: last,
        says: f => `${f + 1} of ${last + 1}` },
    }, ({ beta, seed, frame }) => {
      const shown = data.rows.find(r => r.beta === beta && r.seed === seed).frames, f = shown[frame >> 1],
        fine = frame % 2
      const now = make('div', { class: 'field' },
        picture(fine ? f.fine : f.coarse, f.side, `The field of side ${f.side}`, contrast(f.fine)),
          make('span', {}, fine ? `side ${f.side}: with its details` : `side ${f.side}: the coarser field put back`))
      const row = make('div', { class: 'row' },
        ...shown.map((g, i) => make('div',
          { class: i > frame >> 1 || i === frame >> 1 && !fine ? 'field later' : 'field' },
            picture(g.fine, g.side, `Side ${g.side}`, contrast(g.fine)), make('span', {}, `${g.side}`))))
      return { panels: [now, row], text: `Sample ${seed + 1} at β = ${beta}. ` + (fine
        ? `Given the coarser field, ${3 * (f.side / 2) ** 2} details of side ${f.side} were drawn by a chain of ` +
          '16 Hamiltonian trajectories.'
        : `Nothing is new yet: the field of side ${f.side / 2}, on the grid of side ${f.side}.`) }
    })
    const play = make('button', { type: 'button' }, 'Play')
    let clock = null
    const stop = () => { clearInterval(clock); clock = null; play.textContent = 'Play' }
    play.addEventListener('click', () => {
      if (clock) return stop()
      let k = moved.state.frame === last ? -1 : moved.state.frame
      play.textContent = 'Stop'
      clock = setInterval(() => { moved.set('frame', ++k); if (k >= last) stop() }, 600)
    })
    figure.querySelector('form').append(play)
  },

  windows(figure, data) {
    panel(figure, { eta: { label: 'spectrum: exponent η', slide: true, values: unique(data.rows, 'eta'), start: 3 },
      sigma: { label: 'noise σ', slide: true, values: unique(data.rows, 'sigma'), start: 4 } }, ({ eta, sigma }) => {
      const row = data.rows.find(r => r.eta === eta && r.sigma === sigma),
        kinds = [['whole', 'plain'], ['details', 'wavelets']], enough = k => data.widths.find((w, i) => row[k][i] < .1)
      const loss = chart({ title: 'Decibels lost by a small receptive field',
        x: { from: 0, to: 12, label: 'receptive field, pixels a side', ticks: data.widths },
        y: { from: .001, to: 30, log: true, label: 'decibels above the best error', ticks: [.001, .01, .1, 1, 10] },
        lines: kinds.map(([k, as]) => ({ at: data.widths.map((w, i) => [w, Math.max(row[k][i], 1e-3)]), as })),
        dots: kinds.flatMap(([k, as]) => data.widths.map((w, i) =>
          ({ at: [w, Math.max(row[k][i], 1e-3)], as, r: 3 }))),
        marks: [{ at: [3, row.whole[1]], as: 'plain', says: 'whole field', anchor: 'start', dx: 6, dy: -6 },
          { at: [3, row.details[1]], as: 'wavelets', says: 'details', anchor: 'end', dx: -8, dy: 14 }] })
      const told = k => enough(k) ? `${enough(k)} x ${enough(k)} pixels` : `more than ${data.widths.at(-1)} a side`
      return { panels: [loss], text: `To come within 0.1 dB of the best estimator the whole field needs ` +
        `${told('whole')}, its details given the coarser field ${told('details')}.` }
    })
  },

  denoisers(figure, data) {
    const { side } = data, nets = data.rows.map(r => [r.field, kernels(r.layers)]), z = random(7),
      noise = range(side * side).map(() => z()), own = 'a picture of yours'
    const shown = Object.fromEntries(Object.entries(data.pictures).map(([k, b]) => [k, bytes(b).map(v => v / 255)]))
    const moved = panel(figure, {
      sigma: { label: 'noise σ (white is 1)', slide: true, values: [.05, .1, .15, .2, .3, .4], start: .2 },
      picture: { label: 'picture', values: [...Object.keys(shown), own] },
    }, ({ picture: name, sigma }) => {
      const x = shown[name] || Object.values(shown)[0], y = x.map((v, i) => v + sigma * noise[i])
      const out = [['the picture', x], ['with noise', y],
        ...nets.map(([r, net]) => [`seen ${r} × ${r}`, denoise(net, y, side)])]
      const db = out.map(([, v]) => decibels(v, x).toFixed(1))
      const panels = out.map(([word, v], i) => make('div', { class: 'field' },
        shade(v.map(u => 255 * u), side, `${word}, noise ${sigma}`),
        make('span', {}, word + (i ? `: ${db[i]} dB` : ''))))
      return { panels, text: (shown[name] ? '' : 'Choose a file: it stays on your machine. ') +
        `Noise of σ = ${sigma} leaves ${db[1]} decibels; networks that see ` +
        nets.map(([r], i) => `${r} × ${r} pixels give ${db[i + 2]}`).join(', ') + '.' }
    })
    const file = make('input', { type: 'file', accept: 'image/*', name: 'file' })
    file.addEventListener('change', async () => {
      try { shown[own] = await grey(file.files[0], side) } catch { return }
      moved.set('picture', Object.keys(data.pictures)[0]); moved.set('picture', own)
    })
    figure.querySelector('form').append(make('label', {}, 'your own ', file))
  },

  collapse(figure) {
    const kinds = { modulus: 'modulus |z|', threshold: 'soft-threshold ρ(z)', none: 'nothing' }
    panel(figure, {
      rho: { label: 'non-linearity', values: Object.keys(kinds), names: kinds },
      shift: { label: 'translations up to', slide: true, values: [0, 1, 2, 3, 4, 6, 8], start: 4,
          says: v => `${v} pixels` },
      sigma: { label: 'bandwidth σ', slide: true, values: [.03, .06, .1, .15, .2, .3], start: .06 },
      t: { label: 'threshold', slide: true, values: [0, .1, .2, .3, .4, .6], start: .2 },
    }, ({ rho, shift, sigma, t }) => {
      const taus = range(41).map(i => (i - 20) / 20 * shift),
        classes = [signal(3), signal(8)].map(x => taus.map(tau => coefficient(x, sigma, tau)))
      const far = Math.max(...classes.flat().map(z => Math.hypot(...z))) * 1.15,
        axis = label => ({ from: -far, to: far, label, ticks: [-far / 1.15, 0, far / 1.15] })
      const plane = (title, clouds) => chart({ title, square: true, x: axis('real part'), y: axis('imaginary part'),
        lines: [{ at: [[-far, 0], [far, 0]], as: 'faint' }, { at: [[0, -far], [0, far]], as: 'faint' }],
        dots: [...clouds.flatMap((c, k) => c.map(at => ({ at, as: k ? 'second' : 'first', r: 3 }))),
          ...clouds.map((c, k) => ({ at: [0, 1].map(i => mean(c.map(z => z[i]))), r: 8,
            as: (k ? 'second ring' : 'first ring') }))] })
      const after = classes.map(c => c.map(z => RHO[rho](z, t))), x = signal(3), z0 = coefficient(x, sigma, 0)
      const turned = tau => [z0[0] * Math.cos(xi * tau) + z0[1] * Math.sin(xi * tau),
        z0[1] * Math.cos(xi * tau) - z0[0] * Math.sin(xi * tau)]
      const off = Math.max(...taus.map((tau, i) => Math.hypot(classes[0][i][0] - turned(tau)[0],
        classes[0][i][1] - turned(tau)[1])))
      return { panels: [plane('Wavelet coefficient of two translated signals', classes),
        plane(`After ${kinds[rho]}`, after)],
        text: `Left, one wavelet coefficient of two signals as they move; right, after ${kinds[rho]}. ` +
          'Distance of the class means over the spread within: ' +
          `${say(fisher(...classes))} before, ${say(fisher(...after))} after. ` +
          `A translation is a phase up to ${say(off)}; the bound says ${say(spread(sigma) * shift * Math.sqrt(n))}.` }
    })
  },

  clouds(figure) {
    const widths = [4, 8, 16, 32, 64, 128, 256, 512],
      errors = widths.map(w => mean(range(3).map(k => align(features(weights(w, 2 * k + 1)),
        features(weights(w, 2 * k + 2))).error)))
    panel(figure, {
      width: { label: 'width n', slide: true, values: widths, start: 16 },
      turn: { label: 'rotate the second network', slide: true, values: [0, .25, .5, .75, 1],
          says: v => `${100 * v} %` },
      pair: { label: 'pair of networks', slide: true, values: [0, 1, 2], says: v => `${v + 1}` },
    }, ({ width, turn, pair }, set) => {
      const a = align(features(weights(width, 2 * pair + 1)), features(weights(width, 2 * pair + 2)))
      const seen = a.before.map((b, i) => b.map((v, k) => (1 - turn) * v + turn * a.after[i][k])),
        far = 1.25 * Math.max(...[...a.own, ...a.before, ...a.after].flat().map(Math.abs)),
        colour = i => `hsl(${Math.round(i * 15)} 70% 45%)`
      const axis = label => ({ from: -far, to: far, label, ticks: [0] })
      const cloud = chart({ title: 'Features of 24 points in two networks, on two axes of the first', square: true,
        x: axis('second principal axis of network 1'), y: axis('third'),
        lines: a.own.map((o, i) => ({ at: [o, seen[i]], as: 'faint' })),
        dots: [...a.own.map((at, i) => ({ at, as: 'own', r: 6, style: `stroke:${colour(i)}` })),
          ...seen.map((at, i) => ({ at, as: 'other', r: 4, style: `fill:${colour(i)}` }))] })
      const fall = chart({ title: 'Error after the best rotation against the width',
        pick: v => set('width', nearest(widths, v)),
        x: { from: 3, to: 700, log: true, label: 'width n', ticks: widths.filter((_, i) => i % 2) },
        y: { from: .001, to: 1, log: true, label: 'error after rotation' },
        lines: [{ at: widths.map(w => [w, errors[0] * widths[0] / w]), as: 'faint' },
          { at: widths.map((w, i) => [w, errors[i]]), as: 'model' }],
        dots: [{ at: [width, a.error], as: 'model', r: 5 }],
        marks: [{ at: [90, errors[0] * 4 / 90], says: '1/n', as: '', dx: -14, dy: 16 }] })
      return { panels: [cloud, fall],
        text: `Two networks of ${width} random neurons. As they are, their features differ by ` +
          `${percent(a.apart)} of their energy; after the best rotation by ${percent(a.error)}.` }
    })
  },
}

addEventListener('DOMContentLoaded', () => {
  for (const figure of document.querySelectorAll('figure[data-explore]')) {
    const given = figure.querySelector('script[type="application/json"]')
    EXPLORABLES[figure.dataset.explore](figure, given && JSON.parse(given.textContent))
  }
})
})()
