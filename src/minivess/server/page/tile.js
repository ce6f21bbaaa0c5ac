// Where the voxels of a view lie on the canvas.

/** @type {Record<number, number[]>} */
const AXES = { 0: [0, 1, 2], 1: [0, 2, 1], 2: [1, 2, 0] } // axial, coronal, sagittal: which of R, A, S runs right, up, through

/**
 * One slice as it was drawn: the axes that run right, up and through, its rectangle on the canvas, and where the image's edges lie.
 * @typedef {object} ShownSlice
 * @property {number[]} axes
 * @property {[number, number, number, number]} rectangle left, top, width, height in canvas pixels
 * @property {(fraction: ArrayLike<number>) => [number, number]} at where a point lies, in canvas pixels; fractions of the image along R, A, S
 */

/**
 * Return the slices that niivue drew last. Tested with niivue 0.69.0.
 * @param {import('./vendor/niivue.js').Niivue} nv
 * @returns {ShownSlice[]}
 */
export function shownSlices(nv) {
  const drawn = nv.screenSlices.filter((tile) => AXES[tile.axCorSag] && tile.fovMM?.length)
  return drawn.map((tile) => {
    const axes = AXES[tile.axCorSag]
    return { axes, rectangle: upright(tile.leftTopWidthHeight), at: (fraction) => onTile(nv.frac2mm(fraction), tile, axes) }
  })
}

/**
 * Return the voxel of the file at a point of the canvas; null where there is none.
 * @param {ShownSlice[]} slices
 * @param {number} x canvas pixels
 * @param {number} y
 * @param {ArrayLike<number>} crosshair fractions of the image along R, A, S
 * @param {import('./grid.js').Grid} grid
 */
export function voxelUnder(slices, x, y, crosshair, grid) {
  for (const { axes: [right, up], rectangle: [left, top, width, height], at } of slices) {
    if (x < left || x > left + width || y < top || y > top + height) continue
    const [from, to] = [at([0, 0, 0]), at([1, 1, 1])]
    const fraction = Array.from(crosshair)
    fraction[right] = (x - from[0]) / (to[0] - from[0])
    fraction[up] = (y - from[1]) / (to[1] - from[1])
    const ras = grid.ras.map((n, r) => Math.floor(fraction[r] * n))
    return ras.every((v, r) => v >= 0 && v < grid.ras[r]) ? grid.toFile(ras) : null
  }
  return null
}

/**
 * Return the part of a slice between two shares of its width, left to right.
 * @param {ShownSlice} slice
 * @param {number} from in [0, 1]
 * @param {number} to
 * @returns {ShownSlice}
 */
export function partOf(slice, from, to) {
  const [left, top, width, height] = slice.rectangle
  return { ...slice, rectangle: [left + from * width, top, (to - from) * width, height] }
}

/**
 * Draw inside a slice's rectangle only.
 * @param {CanvasRenderingContext2D} pen
 * @param {ShownSlice} slice
 * @param {() => void} draw
 */
export function clipped(pen, slice, draw) {
  pen.save()
  pen.beginPath()
  pen.rect(...slice.rectangle)
  pen.clip()
  draw()
  pen.restore()
}

/**
 * Return a rectangle of positive width.
 * @param {number[]} leftTopWidthHeight
 * @returns {[number, number, number, number]}
 */
function upright([left, top, width, height]) {
  return width < 0 ? [left + width, top, -width, height] : [left, top, width, height]
}

/**
 * @param {number[]} mm
 * @param {import('./vendor/niivue.js').Tile} tile
 * @param {number[]} axes
 * @returns {[number, number]}
 */
function onTile(mm, tile, [right, up]) {
  const [left, top, width, height] = upright(tile.leftTopWidthHeight)
  let across = (mm[right] - tile.leftTopMM[0]) / tile.fovMM[0]
  if (tile.leftTopWidthHeight[2] < 0) across = 1 - across
  return [left + across * width, top + (1 - (mm[up] - tile.leftTopMM[1]) / tile.fovMM[1]) * height]
}
