// Two fingers on the picture magnify it. niivue would change the slice, and the pen would draw with the first of them.

/** @param {TouchEvent} event of two fingers */
function apart({ touches: [first, second] }) {
  return first && second ? Math.hypot(first.clientX - second.clientX, first.clientY - second.clientY) : 0
}

/**
 * Magnify a picture by two fingers.
 * @param {HTMLElement} canvas
 * @param {{ zoomBy: (factor: number) => void, onFirst: () => void, onSecond: () => void }} actions `onFirst`: a finger comes, and may draw;
 *   `onSecond`: a second one came, so that what the first has drawn was not meant
 */
export function bindPinch(canvas, { zoomBy, onFirst, onSecond }) {
  let before = 0
  canvas.addEventListener('touchstart', (event) => {
    before = apart(event)
    if (event.touches.length === 1) onFirst()
    if (event.touches.length === 2) onSecond()
  }, { capture: true })
  canvas.addEventListener('touchmove', (event) => {
    if (event.touches.length < 2) return
    event.preventDefault()
    event.stopImmediatePropagation()
    const now = apart(event)
    if (before && now) zoomBy(now / before)
    before = now
  }, { capture: true, passive: false })
}
