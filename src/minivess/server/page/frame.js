// The yellow frame of the current region, on a canvas over the views.
import { clipped } from './tile.js'

/**
 * Draw a box into each view: dashed where it lies in other slices than the one shown.
 * @param {CanvasRenderingContext2D} pen
 * @param {import('./tile.js').ShownSlice[]} slices
 * @param {ArrayLike<number>} crosshair fractions of the image along R, A, S
 * @param {import('./grid.js').Grid} grid
 * @param {import('./grid.js').Box} box
 */
export function drawFrame(pen, slices, crosshair, grid, box) {
  const scale = window.devicePixelRatio || 1
  const [low, high] = fractions(grid, box)
  pen.strokeStyle = '#ffd166'
  pen.lineWidth = 1.5 * scale
  for (const slice of slices) {
    const through = slice.axes[2]
    const inSlice = crosshair[through] >= low[through] && crosshair[through] <= high[through]
    clipped(pen, slice, () => {
      pen.setLineDash(inSlice ? [] : [4 * scale, 4 * scale])
      pen.strokeRect(...rectangleOf(slice, low, high))
    })
  }
}

/**
 * Return where a box lies in a view: left, top, width, height in canvas pixels.
 * @param {import('./tile.js').ShownSlice} slice
 * @param {import('./grid.js').Grid} grid
 * @param {import('./grid.js').Box} box
 */
export function boxOnCanvas(slice, grid, box) {
  return rectangleOf(slice, ...fractions(grid, box))
}

/**
 * @param {import('./tile.js').ShownSlice} slice
 * @param {number[]} low
 * @param {number[]} high
 * @returns {[number, number, number, number]}
 */
function rectangleOf(slice, low, high) {
  const [a, b] = [slice.at(low), slice.at(high)]
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])]
}

/**
 * Return the lower and the upper corner of a box along R, A, S, as fractions of the image.
 * @param {import('./grid.js').Grid} grid
 * @param {import('./grid.js').Box} box
 * @returns {[number[], number[]]}
 */
function fractions(grid, box) {
  const first = grid.toRas([box[0], box[2], box[4]])
  const last = grid.toRas([box[1] - 1, box[3] - 1, box[5] - 1])
  return [
    first.map((v, r) => Math.min(v, last[r]) / grid.ras[r]),
    first.map((v, r) => (Math.max(v, last[r]) + 1) / grid.ras[r]),
  ]
}
