// The yellow frame of the current region, on a canvas over the views.

/** @type {Record<number, number[]>} */
const AXES = { 0: [0, 1, 2], 1: [0, 2, 1], 2: [1, 2, 0] } // axial, coronal, sagittal: which of R, A, S runs right, up, through

/**
 * Draw a box into each view: dashed where it lies in other slices than the one shown.
 * @param {HTMLCanvasElement} canvas
 * @param {import('./vendor/niivue.js').Niivue} nv
 * @param {import('./grid.js').Grid | null} grid
 * @param {import('./grid.js').Box | null} box
 */
export function drawFrame(canvas, nv, grid, box) {
  const scale = window.devicePixelRatio || 1
  if (canvas.width !== nv.canvas.width) canvas.width = nv.canvas.width
  if (canvas.height !== nv.canvas.height) canvas.height = nv.canvas.height
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'))
  pen.clearRect(0, 0, canvas.width, canvas.height)
  if (!box || !grid) return
  pen.strokeStyle = '#ffd166'
  pen.lineWidth = 1.5 * scale
  const [low, high] = fractions(grid, box)
  for (const tile of nv.screenSlices) { // niivue's own record of the views that it drew. Tested with niivue 0.69.0.
    const axes = AXES[tile.axCorSag]
    if (!axes || !tile.fovMM?.length) continue
    const at = nv.scene.crosshairPos[axes[2]]
    const inSlice = at >= low[axes[2]] && at <= high[axes[2]]
    const [a, b] = [low, high].map((fraction) => onTile(nv.frac2mm(fraction), tile, axes))
    pen.save()
    pen.beginPath()
    pen.rect(...upright(tile.leftTopWidthHeight))
    pen.clip()
    pen.setLineDash(inSlice ? [] : [4 * scale, 4 * scale])
    pen.strokeRect(Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1]))
    pen.restore()
  }
}

/**
 * Return the lower and the upper corner of a box along R, A, S, as fractions of the image.
 * @param {import('./grid.js').Grid} grid
 * @param {import('./grid.js').Box} box
 */
function fractions(grid, box) {
  const first = grid.toRas([box[0], box[2], box[4]])
  const last = grid.toRas([box[1] - 1, box[3] - 1, box[5] - 1])
  return [
    first.map((v, r) => Math.min(v, last[r]) / grid.ras[r]),
    first.map((v, r) => (Math.max(v, last[r]) + 1) / grid.ras[r]),
  ]
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
 * Return where a point lies on the canvas.
 * @param {number[]} mm
 * @param {import('./vendor/niivue.js').Tile} tile
 * @param {number[]} axes
 */
function onTile(mm, tile, [right, up]) {
  const [left, top, width, height] = upright(tile.leftTopWidthHeight)
  let across = (mm[right] - tile.leftTopMM[0]) / tile.fovMM[0]
  if (tile.leftTopWidthHeight[2] < 0) across = 1 - across
  return [left + across * width, top + (1 - (mm[up] - tile.leftTopMM[1]) / tile.fovMM[1]) * height]
}
