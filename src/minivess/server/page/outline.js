// The outline of the mask in each view: the vessel under it stays visible.
import { clipped } from './tile.js'

const COLOUR = '#ff5a66'

/**
 * Draw the edges between voxels of the mask and their neighbours in the slice.
 * @param {CanvasRenderingContext2D} pen
 * @param {import('./tile.js').ShownSlice[]} slices
 * @param {ArrayLike<number>} crosshair fractions of the image along R, A, S
 * @param {number[]} ras voxels along R, A, S
 * @param {Uint8Array} mask R running fastest
 * @param {string} [colour]
 */
export function drawOutline(pen, slices, crosshair, ras, mask, colour = COLOUR) {
  pen.strokeStyle = colour
  pen.lineWidth = 1.25 * (window.devicePixelRatio || 1)
  pen.setLineDash([])
  for (const slice of slices) clipped(pen, slice, () => strokeEdges(pen, slice, crosshair, ras, mask))
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {import('./tile.js').ShownSlice} slice
 * @param {ArrayLike<number>} crosshair
 * @param {number[]} ras
 * @param {Uint8Array} mask
 */
function strokeEdges(pen, { axes: [right, up, through], rectangle, at }, crosshair, ras, mask) {
  const strides = [1, ras[0], ras[0] * ras[1]]
  const [nx, ny] = [ras[right], ras[up]]
  const depth = Math.min(ras[through] - 1, Math.max(0, Math.floor(crosshair[through] * ras[through])))
  const start = at([0, 0, 0]), end = at([1, 1, 1])
  const step = [(end[0] - start[0]) / nx, (end[1] - start[1]) / ny] // canvas pixels a voxel
  const [x0, x1] = visible(start[0], step[0], nx, rectangle[0], rectangle[2])
  const [y0, y1] = visible(start[1], step[1], ny, rectangle[1], rectangle[3])
  const first = depth * strides[through]
  const value = (/** @type {number} */ x, /** @type {number} */ y) =>
    x >= 0 && y >= 0 && x < nx && y < ny && mask[first + x * strides[right] + y * strides[up]] !== 0
  pen.beginPath()
  for (let y = y0; y <= y1; y++) { // along a row, each run of edges is one line
    const at_y = start[1] + y * step[1]
    for (let x = x0, from = -1; x <= x1; x++) {
      const edge = x < x1 && value(x, y) !== value(x, y - 1)
      if (edge && from < 0) from = x
      if (!edge && from >= 0) {
        pen.moveTo(start[0] + from * step[0], at_y)
        pen.lineTo(start[0] + x * step[0], at_y)
        from = -1
      }
    }
  }
  for (let x = x0; x <= x1; x++) {
    const at_x = start[0] + x * step[0]
    for (let y = y0, from = -1; y <= y1; y++) {
      const edge = y < y1 && value(x, y) !== value(x - 1, y)
      if (edge && from < 0) from = y
      if (!edge && from >= 0) {
        pen.moveTo(at_x, start[1] + from * step[1])
        pen.lineTo(at_x, start[1] + y * step[1])
        from = -1
      }
    }
  }
  pen.stroke()
}

/**
 * Return the first voxel, and the one after the last, that lie in a range of canvas pixels.
 * @param {number} start of the image
 * @param {number} step a voxel
 * @param {number} count voxels
 * @param {number} low
 * @param {number} length
 */
function visible(start, step, count, low, length) {
  const edges = [(low - start) / step, (low + length - start) / step]
  return [Math.max(0, Math.floor(Math.min(...edges))), Math.min(count, Math.ceil(Math.max(...edges)))]
}
