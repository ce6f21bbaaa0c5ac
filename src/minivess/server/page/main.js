// The page: buttons, keys and words around a review.
import { Outbox } from './outbox.js'
import { Review } from './review.js'
import { Server } from './server.js'
import { Viewer } from './viewer.js'

const $ = (id) => document.getElementById(id)
const KEYS = { a: 'accept', s: 'skip', n: 'next', u: 'undo', r: 'redo', o: 'heat', m: 'mask' }
const TOOLS = { escape: 'look', f: 'pen', e: 'eraser', p: 'path', c: 'connect', x: 'cut', d: 'remove' }
const PENS = { pen: 1, eraser: 0 }
const WORDS = { leased: 'taken', fixed: 'mended' }
let review = null
let viewer = null

const show = {
  /** How far the model is, in [0, 1]; null where nothing is waited for. */
  waiting(share) {
    $('waiting').hidden = share === null
    if (share !== null) $('share').value = share
  },
  /** The token is of no use any more: ask for another; the image and what was not sent stay. */
  refused(words) {
    sessionStorage.removeItem('minivess.token')
    localStorage.removeItem('minivess.token')
    $('token').value = ''
    $('connect').hidden = false
    $('work').hidden = true
    $('connectMessage').textContent = words
    $('token').focus()
  },
  message(text, bad = false) {
    $('message').textContent = text
    $('message').classList.toggle('bad', bad)
  },
  progress({ places, answered, errors_handled, seconds_left }) {
    const left = seconds_left >= 90 ? `${Math.round(seconds_left / 60)} min` : `${Math.round(seconds_left)} s`
    $('progress').textContent = `${answered} of ${places} places, about ${Math.round(100 * errors_handled)} % of the expected errors handled, ${left} left`
  },
  place(place) {
    $('place').textContent = place ? `${place.kind}: ${place.reason}` : ''
    for (const row of $('queue').rows) row.setAttribute('aria-current', String(row.dataset.id === place?.id))
  },
  queue(places, current) {
    $('queue').replaceChildren(...places.map((place, rank) => {
      const row = document.createElement('tr')
      row.dataset.id = place.id
      row.title = place.reason
      row.setAttribute('aria-current', String(place.id === current))
      row.addEventListener('click', () => review.then(() => review.choose(place)))
      const go = document.createElement('button') // a button: the keyboard gets there too
      go.type = 'button'
      go.textContent = `${place.kind}`
      row.insertCell().textContent = rank + 1
      row.insertCell().append(go)
      for (const text of [place.expected_errors.toFixed(1), WORDS[place.state] ?? place.state]) row.insertCell().textContent = text
      return row
    }))
  },
}

function tool() {
  return document.querySelector('input[name="tool"]:checked').value
}

function takeTool() {
  viewer.clicking = !(tool() in PENS) && tool() !== 'look'
  viewer.pen(PENS[tool()] ?? null, Number($('size').value))
  if (review) review.clicks = []
  $('gl').style.cursor = tool() === 'look' ? 'default' : 'crosshair'
}

async function connect(token, remember) {
  const server = new Server(token)
  const images = Object.keys((await server.json('GET', '/datastore/?output=all')).objects ?? {}).sort()
  if (remember !== null) {
    sessionStorage.setItem('minivess.token', token)
    if (remember) localStorage.setItem('minivess.token', token)
  }
  const { username } = await server.json('GET', '/auth/token/valid')
  const outbox = new Outbox(server, username, {
    onChange: (count, kept) => {
      document.title = count ? `(${count} unsent) MinIVess review` : 'MinIVess review'
      if (!kept) show.message('This browser has no room left: do not close the page before the server is back.', true)
    },
    onRefused: (error) => show.message(`${error.message} (It was sent late; look at the place again.)`, true),
  })
  if (!viewer) {
    viewer = new Viewer($('gl'), $('frame'), {
      onStroke: () => review.then(() => review.stroke()),
      onClick: (ijk) => review.then(() => review.click(tool(), ijk)),
      onSlice: (number, count) => { $('slice').textContent = `slice ${number} of ${count}` },
    })
    await viewer.start()
  }
  review = new Review(server, viewer, outbox, show)
  await outbox.send()
  $('image').replaceChildren(...images.map((name) => new Option(name)))
  $('connect').hidden = true
  $('connectMessage').textContent = ''
  $('work').hidden = false
  $('progress').textContent = ''
  const wanted = sessionStorage.getItem('minivess.image')
  if (images.includes(wanted)) $('image').value = wanted
  if (images.length) await open()
  else show.message('This server has no image yet.', true)
}

function open() {
  const image = $('image').value
  return review.then(async () => {
    try {
      await review.open(image)
      sessionStorage.setItem('minivess.image', image)
      await review.next()
    } finally {
      $('image').value = review.image // the one before, where this one could not be opened
      showWhatIsShown()
    }
  })
}

async function act(name) {
  if (!review) return
  if (name === 'mask') viewer.maskShown = !viewer.maskShown
  else await review.then(() => review[name]())
  showWhatIsShown()
}

function showWhatIsShown() {
  $('heat').setAttribute('aria-pressed', String(viewer.heat))
  $('legend').hidden = !viewer.heat
  $('mask').setAttribute('aria-pressed', String(viewer.maskShown))
}

async function nextImage() {
  await review.then(async () => {
    const image = await review.nextImage()
    if (!image) throw new Error('No image is left that needs a look.')
    if (image === review.image) throw new Error(`${image} is still the one that is worth it most.`)
    if (![...$('image').options].some(({ value }) => value === image)) $('image').add(new Option(image))
    $('image').value = image
  })
  if ($('image').value !== review.image) await open()
}

async function save() {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(new Blob([await viewer.file()]))
  link.download = `${review.image}-mask.nii`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}

for (const name of Object.values(KEYS)) $(name).addEventListener('click', () => act(name))
$('submit').addEventListener('click', () => act('submit'))
$('save').addEventListener('click', () => review.then(save))
$('stop').addEventListener('click', () => review.prediction?.stop())
$('nextImage').addEventListener('click', nextImage)
$('image').addEventListener('change', () => open())
$('tools').addEventListener('change', takeTool)
$('size').addEventListener('input', takeTool)
$('leave').addEventListener('click', () => {
  sessionStorage.removeItem('minivess.token')
  localStorage.removeItem('minivess.token')
  location.reload()
})
$('connect').addEventListener('submit', (event) => {
  event.preventDefault()
  connect($('token').value.trim(), $('remember').checked).catch((error) => alertIn(error))
})
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return
  if (event.target.matches?.('input[type="password"], select')) return
  const key = event.key.toLowerCase()
  if (KEYS[key] && review) act(KEYS[key])
  else if (TOOLS[key] && review) {
    document.querySelector(`input[value="${TOOLS[key]}"]`).checked = true
    takeTool()
  } else return
  event.preventDefault()
  event.stopPropagation()
}, true)

$('look').addEventListener('click', () => {
  const dark = document.documentElement.dataset.look
    ? document.documentElement.dataset.look === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches
  look(dark ? 'light' : 'dark')
})

function look(name) {
  document.documentElement.dataset.look = name
  localStorage.setItem('minivess.look', name)
}

function alertIn(error) {
  $('connectMessage').textContent = error.message
}

if (localStorage.getItem('minivess.look')) look(localStorage.getItem('minivess.look'))
const known = sessionStorage.getItem('minivess.token') ?? localStorage.getItem('minivess.token')
if (known) connect(known, null).catch((error) => alertIn(error))
window.minivess = { get review() { return review }, get viewer() { return viewer } } // for the tests, and for the curious
