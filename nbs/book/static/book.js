// Filters and sorts the ledger, filters the atlas (both as the address says), opens the row whose address was asked for.
const rows = form => { // what a form filters
  let table = form.nextElementSibling // in a container of its own, where the theme puts it into one
  if (table && !table.matches('.ledger')) table = table.querySelector('table.ledger')
  return table?.matches('.ledger') ? [...table.tBodies[0].rows] : [...document.querySelectorAll('#atlas > section > section')]
}

function filter(form) {
  const words = form.words.value.toLowerCase().split(/\s+/).filter(Boolean), all = rows(form)
  const picked = [...form.querySelectorAll('select')].filter(s => s.value)
  for (const r of all)
    r.hidden = !(picked.every(s => r.dataset[s.name] === s.value) && words.every(w => r.textContent.toLowerCase().includes(w)))
  document.querySelectorAll('#atlas > section').forEach(s => s.hidden = ![...s.querySelectorAll(':scope > section')].some(c => !c.hidden))
  form.querySelector('output').textContent = `${all.filter(r => !r.hidden).length} of ${all.length}`
}

function sort(th) {
  const k = th.cellIndex, body = th.closest('table').tBodies[0], down = th.ariaSort === 'ascending'
  for (const other of th.parentElement.cells) other.removeAttribute('aria-sort')
  th.ariaSort = down ? 'descending' : 'ascending'
  const words = r => r.cells[k].textContent.trim()
  const by = (a, b) => words(a).localeCompare(words(b), 'en', { numeric: true })
  body.append(...[...body.rows].sort((a, b) => down ? by(b, a) : by(a, b)))
}

function open() {
  const row = document.getElementById(decodeURIComponent(location.hash.slice(1)))
  if (!row) return
  const form = document.querySelector('form.filter')
  if (row.hidden && form) { form.reset(); filter(form) }
  const details = row.matches('tr') && row.querySelector('details')
  if (details) details.open = true
  const cell = !row.matches('tr') && row.closest('details')
  if (cell) cell.open = true
  row.scrollIntoView()
}

addEventListener('DOMContentLoaded', () => {
  for (const form of document.querySelectorAll('form.filter')) {
    for (const [k, v] of new URLSearchParams(location.search)) if (form.elements[k]) form.elements[k].value = v
    form.addEventListener('input', () => filter(form))
    form.addEventListener('submit', e => e.preventDefault())
    filter(form)
  }
  for (const th of document.querySelectorAll('table.ledger th')) th.firstChild.addEventListener('click', () => sort(th))
  open()
})
addEventListener('hashchange', open)
