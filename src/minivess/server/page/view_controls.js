// The bar under the views, and the keys that move, magnify and clear them.
import { element } from './panel.js'
import { t } from './texts.js'

/** @type {Record<string, (viewer: import('./viewer.js').Viewer, step: number) => void>} */
const KEYS = {
  arrowleft: (viewer, step) => viewer.position.move(-step, 0, 0),
  arrowright: (viewer, step) => viewer.position.move(step, 0, 0),
  arrowup: (viewer, step) => viewer.position.move(0, step, 0),
  arrowdown: (viewer, step) => viewer.position.move(0, -step, 0),
  pageup: (viewer) => viewer.position.move(0, 0, 1),
  pagedown: (viewer) => viewer.position.move(0, 0, -1),
  '+': (viewer) => viewer.position.zoomBy(1.25),
  '=': (viewer) => viewer.position.zoomBy(1.25),
  '-': (viewer) => viewer.position.zoomBy(0.8),
  0: (viewer) => viewer.fit(),
}
const FAST = 10 // voxels, with Shift
const BARE = 'h'

/**
 * Bind the bar's controls.
 * @param {() => import('./viewer.js').Viewer | null} viewer
 */
export function bindViewControls(viewer) {
  const slider = element('sliceNumber', HTMLInputElement)
  slider.addEventListener('input', () => viewer()?.position.showSlice(Number(slider.value) - 1))
  const actions = { zoomIn: '+', zoomOut: '-', fit: '0' }
  for (const [id, key] of Object.entries(actions)) {
    element(id, HTMLButtonElement).addEventListener('click', () => { const views = viewer(); if (views) KEYS[key](views, 1) })
  }
  const greys = element('greys', HTMLSelectElement)
  greys.addEventListener('change', () => viewer()?.setGreys(greys.value === 'slice'))
  const fill = element('fill', HTMLInputElement)
  fill.addEventListener('input', () => viewer()?.setFill(Number(fill.value) / 100))
  document.addEventListener('keyup', (event) => { if (event.key.toLowerCase() === BARE) viewer()?.showBare(false) })
  window.addEventListener('blur', () => viewer()?.showBare(false))
}

/**
 * Show which slice is seen.
 * @param {number} slice from 0
 * @param {number} count
 * @param {{ stretch: number, slab: boolean }} viewer
 */
export function showSlice(slice, count, { stretch, slab }) {
  const slider = element('sliceNumber', HTMLInputElement)
  slider.max = String(count)
  slider.value = String(slice + 1)
  const thicker = stretch > 1 ? t`; side views ${stretch} times as deep as they are` : ''
  const neighbours = slab ? t`, brightest of five` : ''
  element('slice', HTMLElement).textContent = t`slice ${slice + 1} of ${count}${neighbours}${thicker}`
}

/**
 * Do what a key means to the views. Return whether it means something.
 * @param {KeyboardEvent} event
 * @param {import('./viewer.js').Viewer} viewer
 */
export function viewKey(event, viewer) {
  const key = event.key.toLowerCase()
  const moves = key.startsWith('arrow') || key.startsWith('page')
  // There they change a value or scroll.
  if (moves && event.target instanceof Element && event.target.matches('input, select, #list, #list *, aside')) return false
  if (key === BARE) viewer.showBare(true)
  else if (Object.hasOwn(KEYS, key)) KEYS[key](viewer, event.shiftKey ? FAST : 1)
  else return false
  return true
}
