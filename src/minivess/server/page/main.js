// The page: connects, and binds buttons and keys to the review.
import { Brush } from './brush.js'
import { firstHint, showHelp } from './help.js'
import { nextImage } from './image.js'
import { changeLook, restoreLook } from './look.js'
import { StackMap } from './map.js'
import { Outbox } from './outbox.js'
import { Panel, element } from './panel.js'
import { Review } from './review.js'
import { saveAs } from './save.js'
import { Server } from './server.js'
import { Steps } from './steps.js'
import { Study } from './study.js'
import { t, translatePage } from './texts.js'
import { offerTools, penSize, penValue, selectByKey, selectedTool, takesClicks, widenByKey } from './toolbox.js'
import { Training } from './training.js'
import { bindViewControls, showSlice, viewKey } from './view_controls.js'
import { Viewer } from './viewer.js'

/** @typedef {'accept' | 'skip' | 'next' | 'undo' | 'redo' | 'heat' | 'submit' | 'nextError' | 'compare'} Action */

/** @type {Record<string, string>} */
const KEYS = { a: 'accept', s: 'skip', n: 'next', u: 'undo', r: 'redo', o: 'heat', m: 'mask', g: 'nextError', v: 'slab', y: 'compare' }

/** Clicks so soon after a region has come up are second clicks of a double click. */
const DOUBLE_CLICK_MS = 400

/** @type {Review | null} */
let review = null
/** @type {Viewer | null} */
let viewer = null
/** @type {Training | null} */
let training = null
/** @type {Brush | null} */
let brush = null
const choosing = (/** @type {import('./regions.js').QueueItem} */ item) => enqueue((review) => review.choose(item))
const panel = new Panel(choosing)
const map = new StackMap(choosing)
const images = element('image', HTMLSelectElement)
const study = new Study(() => review?.server ?? null, (image) => { addImage(image); choose(image); open() }, () => training?.show().catch(() => {}))
const steps = new Steps(() => review, (count) => enqueue((review) => review.undoSteps(count)))

/**
 * Do something with the review, after all that was asked for before.
 * @param {(review: Review, viewer: Viewer) => unknown} action
 */
async function enqueue(action) {
  const [current, views] = [review, viewer]
  if (!current || !views) return
  await current.enqueue(() => action(current, views))
  element('heat', HTMLButtonElement).setAttribute('aria-pressed', String(views.heat))
  element('legend', HTMLElement).hidden = !views.heat
  element('again', HTMLButtonElement).hidden = !current.image?.status.newer_model
  const compare = element('compare', HTMLButtonElement)
  compare.hidden = !current.image?.status.model_before
  compare.setAttribute('aria-pressed', String(Boolean(views.comparison)))
  steps.fill()
}

// ---- connection

/**
 * @param {string} token
 * @param {boolean | null} remember on this computer; null where the token was remembered already
 */
async function connect(token, remember) {
  const server = new Server(token)
  const { objects = {} } = await server.json('GET', '/datastore/?output=all')
  const { username, roles = [] } = await server.json('GET', '/auth/token/valid')
  /** @type {import('./server.js').Capabilities} */
  const capabilities = await server.json('GET', '/review/capabilities')
  if (remember !== null) sessionStorage.setItem('minivess.token', token)
  if (remember) localStorage.setItem('minivess.token', token)
  const outbox = new Outbox(server, username, localStorage, showUnsent)
  viewer ??= await newViewer()
  review = new Review(server, viewer, outbox, capabilities, panel, map)
  await outbox.send()
  offerTools(capabilities.tools.map(({ name }) => name))
  panel.connected(true)
  element('leave', HTMLButtonElement).textContent = t`Disconnect ${username}` // a computer may be shared
  training = new Training(server, roles)
  training.show().catch(() => {}) // a server without a trainer has nothing to show
  images.replaceChildren(...Object.keys(objects).sort().map((name) => new Option(name)))
  element('progress', HTMLElement).textContent = ''
  choose(sessionStorage.getItem('minivess.image') ?? '')
  if (location.hash === '#study') study.show()
  if (images.value) await open()
  else panel.message(t`This server has no image yet. Put stacks (NIfTI, NRRD) into its studies folder, then load this page again.`, true)
  if (firstHint() && images.value) panel.message(`${firstHint()} ${element('message', HTMLElement).textContent}`)
}

async function newViewer() {
  const found = new Viewer(element('gl', HTMLCanvasElement), element('frame', HTMLCanvasElement), {
    onStroke: () => enqueue((review) => review.opened.editing.stroke()),
    onClick: click,
    onSlice: (slice, count) => showSlice(slice, count, found),
    onPoint: (ijk) => panel.point(review?.suspects.probabilityInWords(ijk) ?? ''),
    onFrame: (rectangle) => map.giveWay(rectangle),
    onWiden: (wider) => { if (widenByKey(wider ? ']' : '[')) takeTool() },
  })
  await found.start()
  brush = new Brush(element('brush', HTMLElement), found.canvas, () => found.pixelsPerVoxel)
  return found
}

/**
 * @param {number} unsent
 * @param {boolean} stored
 */
function showUnsent(unsent, stored) {
  document.title = unsent ? t`(${unsent} unsent) MinIVess review` : t`MinIVess review`
  if (!stored) panel.message(t`This browser has no room left. Do not close the page until your work is sent.`, true)
}

function disconnect() {
  if (review?.outbox.size && !confirm(t`Some of your work is not sent yet. It stays in this browser, and is sent when you connect again here. Disconnect all the same?`)) return
  sessionStorage.removeItem('minivess.token')
  localStorage.removeItem('minivess.token')
  location.reload()
}

// ---- images

/**
 * Select an image, if the server has it.
 * @param {string} name
 */
function choose(name) {
  if ([...images.options].some(({ value }) => value === name)) images.value = name
}

/**
 * List an image that came to the server after the page had read the list.
 * @param {string} name
 */
function addImage(name) {
  if (![...images.options].some(({ value }) => value === name)) images.add(new Option(name))
}

function open() {
  const image = images.value
  review?.want(image)
  return enqueue(async (review) => {
    try {
      await review.open(image)
      sessionStorage.setItem('minivess.image', image)
      await review.next()
    } finally {
      choose(review.image?.name ?? '') // the one before, where this one could not be opened
    }
  })
}

function openNextImage() {
  return enqueue(async (review) => {
    const image = await nextImage(review.server, review.capabilities.next_image_strategy)
    if (!image) throw new Error(t`No image is left to review.`)
    if (image === review.image?.name) throw new Error(t`${image} is still the image with the most expected errors.`)
    addImage(image)
    images.value = image
    open()
  })
}

function save() {
  return enqueue(async (review, viewer) => {
    saveAs(await viewer.file(), `${review.image?.name}-mask.nii`)
  })
}

// ---- tools and keys

function takeTool() {
  if (!viewer) return
  viewer.clicking = takesClicks()
  viewer.pen(penValue(), penSize())
  brush?.take(penValue() === null ? 0 : penSize())
  enqueue((review) => review.editing?.forgetClicks()) // after the clicks that wait
  element('gl', HTMLCanvasElement).style.cursor = selectedTool() === 'look' ? 'default' : 'crosshair'
}

/** Give the keys to the picture: arrows move its crosshair, Enter clicks there, whatever button was pressed before. */
function focusPicture() {
  viewer?.canvas.focus({ preventScroll: true })
}

/** The region that is on the screen now: what the user does is meant for it, also where it has to wait. */
function shownRegion() {
  return review?.regions.current?.id ?? ''
}

/** @param {number[]} ijk */
function click(ijk) {
  const [tool, shown] = [selectedTool(), shownRegion()]
  return enqueue((review) => review.click(tool, ijk, shown))
}

/** @param {string} name of a button */
function act(name) {
  const shown = shownRegion()
  if (name === 'mask') showMask()
  else if (name === 'slab') showSlab()
  else enqueue((review) => review[/** @type {Action} */ (name)](shown))
  if ((name === 'accept' || name === 'skip') && takesClicks()) { // a click into the next region would change it unseen
    selectByKey('escape')
    takeTool()
  }
}

function showMask() {
  if (!viewer) return
  viewer.maskShown = !viewer.maskShown
  element('mask', HTMLButtonElement).setAttribute('aria-pressed', String(viewer.maskShown))
}

function showSlab() {
  viewer?.toggleSlab()
  element('slab', HTMLInputElement).checked = Boolean(viewer?.slab)
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.altKey || element('work', HTMLElement).hidden || document.querySelector('dialog[open]')) return
  if (event.target instanceof Element && event.target.matches('input[type="password"], input[type="text"]')) return
  if (scrollsText(event)) return
  if (event.target instanceof HTMLSelectElement && !KEYS[letterOf(event)]) return // a letter is a key also after a choice in a list
  if (!(event.ctrlKey || event.metaKey ? undoKey(event) : plainKey(event))) return
  event.preventDefault()
  event.stopPropagation()
}

/**
 * Return whether a key scrolls the text that has the focus: one that is longer than its place in a low window.
 * @param {KeyboardEvent} event
 */
function scrollsText({ key, target }) {
  return target instanceof HTMLParagraphElement && target.scrollHeight > target.clientHeight && /^(Arrow|Page)/.test(key)
}

/**
 * Undo and redo as everywhere else: Ctrl+Z; Ctrl+Shift+Z or Ctrl+Y. Return whether it was one of them.
 * @param {KeyboardEvent} event
 */
function undoKey(event) {
  const key = letterOf(event)
  if (event.repeat || (key !== 'z' && key !== 'y')) return false
  act(key === 'y' || event.shiftKey ? 'redo' : 'undo')
  return true
}

/**
 * Return what a key writes, in small letters; on a keyboard without Latin letters, the letter at the same place of one that has them.
 * @param {KeyboardEvent} event
 */
function letterOf({ key, code }) {
  const letter = /^Key([A-Z])$/.exec(code ?? '')
  return (letter && key.length === 1 && key > '\u024f' ? letter[1] : key).toLowerCase()
}

/** @param {KeyboardEvent} event */
function plainKey(event) {
  if (viewer && viewKey(event, viewer)) return true
  const key = letterOf(event)
  if (event.repeat) return false
  if (key === '?') showHelp()
  else if (KEYS[key]) act(KEYS[key])
  else if (key === 'enter' && viewer?.clicking && (event.target === viewer.canvas || event.target === document.body)) viewer.click()
  else if (selectByKey(key)) {
    takeTool()
    focusPicture()
  } else if (widenByKey(key)) takeTool()
  else return false
  return true
}

for (const name of [...Object.values(KEYS), 'submit']) element(name, HTMLElement).addEventListener('click', () => act(name))
for (const name of ['accept', 'skip']) { // a double click must not answer the region that comes up, unseen
  element(name, HTMLElement).addEventListener('click', (event) => {
    if (performance.now() - (review?.regions.since ?? 0) < DOUBLE_CLICK_MS) event.stopImmediatePropagation()
  }, { capture: true })
}
element('save', HTMLButtonElement).addEventListener('click', save)
element('stop', HTMLButtonElement).addEventListener('click', () => review?.prediction?.stop())
element('again', HTMLButtonElement).addEventListener('click', () => { review?.want(review.image?.name ?? ''); enqueue((review) => review.segmentAgain()) })
element('nextImage', HTMLButtonElement).addEventListener('click', openNextImage)
element('train', HTMLButtonElement).addEventListener('click', () => training?.toggle())
element('rollBack', HTMLButtonElement).addEventListener('click', () => training?.rollBack())
element('help', HTMLButtonElement).addEventListener('click', showHelp)
element('showMap', HTMLInputElement).addEventListener('change', (event) => map.hide(!(/** @type {HTMLInputElement} */ (event.target)).checked))
element('leave', HTMLButtonElement).addEventListener('click', disconnect)
element('study', HTMLButtonElement).addEventListener('click', () => study.show())
element('look', HTMLButtonElement).addEventListener('click', changeLook)
element('tools', HTMLFieldSetElement).addEventListener('change', takeTool)
element('tools', HTMLFieldSetElement).addEventListener('click', ({ detail }) => { if (detail) focusPicture() }) // not by the arrow keys
element('size', HTMLInputElement).addEventListener('input', takeTool)
element('note', HTMLInputElement).addEventListener('keydown', ({ key, isComposing, keyCode }) => {
  if (isComposing || keyCode === 229) return // the Enter that confirms a Japanese or Chinese word
  if (key === 'Enter' || key === 'Escape') element('gl', HTMLCanvasElement).focus() // the next letter is a key again
})
images.addEventListener('change', open)
document.addEventListener('keydown', onKey, true)
window.addEventListener('beforeunload', (event) => { if (review?.busy) event.preventDefault() }) // the browser asks
bindViewControls(() => viewer)
element('connect', HTMLFormElement).addEventListener('submit', (event) => {
  event.preventDefault()
  const token = element('token', HTMLInputElement).value.replace(/[^!-~]/g, '') // also without what a copy from a document brings
  connect(token, element('remember', HTMLInputElement).checked).catch((error) => panel.connectMessage(error.message))
})

restoreLook()
await translatePage().catch(() => {}) // it stays in English
const known = sessionStorage.getItem('minivess.token') ?? localStorage.getItem('minivess.token')
if (!known) element('token', HTMLInputElement).focus()
if (known) connect(known, null).catch((error) => panel.connectMessage(error.message))
// For the tests, and for use in the browser's console.
Object.assign(window, { minivess: { get review() { return review }, get viewer() { return viewer } } })
