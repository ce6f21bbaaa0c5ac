// The tools that a user corrects with: radio buttons and their keys.
import { element } from './panel.js'

/** @type {Record<string, string>} */
const KEYS = { escape: 'look', f: 'pen', e: 'eraser', p: 'path', c: 'connect', x: 'cut', d: 'remove', k: 'specks', b: 'grow', t: 'smooth', w: 'object', q: 'box' }
/** @type {Record<string, number>} */
const PENS = { pen: 1, eraser: 0 }

/** The selected tool. */
export function selectedTool() {
  return /** @type {HTMLInputElement} */ (document.querySelector('input[name="tool"]:checked')).value
}

/** Value that the selected tool draws with; null where it does not draw. */
export function penValue() {
  return PENS[selectedTool()] ?? null
}

/** Width of the pen in voxels. */
export function penSize() {
  return Number(element('size', HTMLInputElement).value)
}

/**
 * Make the pen wider or narrower by a key: ] or [. Return whether it was one of them.
 * @param {string} key
 */
export function widenByKey(key) {
  if (key !== '[' && key !== ']') return false
  const size = element('size', HTMLInputElement)
  if (key === ']') size.stepUp()
  else size.stepDown()
  return true
}

/** Whether the selected tool is one that the server runs, at a click. */
export function takesClicks() {
  return selectedTool() !== 'look' && penValue() === null
}

/**
 * Select the tool of a key. Return whether there is one that can be used.
 * @param {string} key
 */
export function selectByKey(key) {
  const button = KEYS[key] && radio(KEYS[key])
  if (!button || button.disabled) return false
  button.checked = true
  return true
}

/**
 * Show the tools that need no server, and of the others those that the server offers.
 * @param {string[]} offered names
 */
export function offerTools(offered) {
  for (const name of Object.values(KEYS)) {
    const button = radio(name)
    button.disabled = name !== 'look' && !(name in PENS) && !offered.includes(name)
    button.parentElement?.toggleAttribute('hidden', button.disabled)
  }
}

/** @param {string} name */
function radio(name) {
  return /** @type {HTMLInputElement} */ (document.querySelector(`input[name="tool"][value="${name}"]`))
}
