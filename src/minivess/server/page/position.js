// Where the views are: crosshair, slice, magnification.
import { t } from './texts.js'

const LEAST_ZOOM = 1, MOST_ZOOM = 32

export class Position {
  /** @param {import('./vendor/niivue.js').Niivue} nv */
  constructor(nv) {
    this.nv = nv
    /** @type {import('./grid.js').Grid | null} */
    this.grid = null // of the image that is open
  }

  /**
   * Bring a box to the middle of the views, so near that it fills a third of one, and put the crosshair on a voxel of it.
   * @param {import('./grid.js').Box} box
   * @param {number[]} [focus] voxel of the file; the middle where none is given
   */
  show(box, focus) {
    const { grid, nv } = this
    if (!grid) return
    const middle = [0, 1, 2].map((a) => Math.floor((box[2 * a] + box[2 * a + 1] - 1) / 2))
    const across = Math.max(box[1] - box[0], box[3] - box[2])
    this.goTo(middle)
    const mm = nv.frac2mm(nv.scene.crosshairPos)
    this.goTo(focus ?? middle)
    this.centre(within(Math.max(grid.shape[0], grid.shape[1]) / (3 * across), LEAST_ZOOM, MOST_ZOOM), mm)
  }

  /**
   * Put the crosshair on a voxel of the file.
   * @param {number[]} ijk
   */
  goTo(ijk) {
    const { nv, grid } = this
    if (!grid) return
    const ras = grid.toRas(ijk.map((n, a) => within(n, 0, grid.shape[a] - 1)))
    nv.scene.crosshairPos = grid.ras.map((n, r) => (ras[r] + 0.5) / n)
    if (nv.opts.is2DSliceShader) nv.updateGLVolume() // too wide for a texture in 3-D: niivue keeps one slice. Tested with niivue 0.69.0.
  }

  /**
   * Bring a point to the middle of each view, at a magnification.
   * @param {number} zoom 1 shows the whole image
   * @param {number[]} [mm] the crosshair where none is given
   */
  centre(zoom, mm = this.nv.frac2mm(this.nv.scene.crosshairPos)) {
    const middle = this.nv.frac2mm([0.5, 0.5, 0.5])
    this.nv.setPan2Dxyzmm([...[0, 1, 2].map((r) => middle[r] - zoom * mm[r]), zoom]) // niivue's pan is in magnified mm; it draws
  }

  /**
   * Magnify; the voxel under the crosshair stays where it is.
   * @param {number} factor
   */
  zoomBy(factor) {
    const { scene } = this.nv
    const [x, y, z, zoom] = scene.pan2Dxyzmm
    const next = within(zoom * factor, LEAST_ZOOM, MOST_ZOOM)
    const mm = this.nv.frac2mm(scene.crosshairPos)
    this.nv.setPan2Dxyzmm([...[x, y, z].map((pan, r) => pan + mm[r] * (zoom - next)), next])
  }

  /**
   * Move the crosshair along the axes of the main view: right, up, and to another slice.
   * @param {number} right
   * @param {number} up
   * @param {number} slices
   */
  move(right, up, slices) {
    const { nv, grid } = this
    if (!grid) return
    const ijk = this.crosshair()
    const steps = [right, up]
    steps.forEach((step, r) => { ijk[grid.axis[r]] += (grid.flipped[r] ? -1 : 1) * step })
    ijk[grid.axis[2]] += slices
    this.goTo(ijk)
    nv.drawScene()
  }

  /**
   * Show a slice of the file.
   * @param {number} slice from 0
   */
  showSlice(slice) {
    if (this.grid) this.move(0, 0, slice - this.slice)
  }

  /** Number of the slice of the file in the main view, from 0. */
  get slice() {
    return this.grid ? this.crosshair()[this.grid.axis[2]] : 0
  }

  /** Return the voxel of the file under the crosshair. */
  crosshair() {
    const { nv, grid } = this
    if (!grid) throw new Error(t`No image is open.`)
    return grid.toFile(grid.ras.map((n, r) => Math.min(n - 1, Math.max(0, Math.floor(nv.scene.crosshairPos[r] * n)))))
  }
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function within(value, low, high) {
  return Math.min(high, Math.max(low, value))
}
