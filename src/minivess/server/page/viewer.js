// The views: image, mask, and uncertainty of the model. Only this file and tile.js touch niivue.
import { NVImage, Niivue, SLICE_TYPE } from './vendor/niivue.js'
import { greys, stretchOf } from './display.js'
import { drawFrame } from './frame.js'
import { Grid } from './grid.js'
import { drawOutline } from './outline.js'
import { shownSlices } from './tile.js'

const LAYOUT = [
  { sliceType: SLICE_TYPE.AXIAL, position: [0, 0, 0.68, 1] },
  { sliceType: SLICE_TYPE.CORONAL, position: [0.69, 0, 0.31, 0.495] },
  { sliceType: SLICE_TYPE.SAGITTAL, position: [0.69, 0.505, 0.31, 0.495] },
]
const FILL_OPACITY = 0.15
const LEAST_ZOOM = 1, MOST_ZOOM = 32
const HEAT_OPACITY = 0.55
const UNCERTAINTY_NATS = [0.2, Math.LN2] // range of the colours

export class Viewer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLCanvasElement} frame a canvas over it
   * @param {{ onStroke: () => void, onClick: (ijk: number[]) => void, onSlice: (number: number, count: number) => void }} events
   *   the pen is lifted; a voxel is clicked on; another slice is shown
   */
  constructor(canvas, frame, { onStroke, onClick, onSlice }) {
    this.onSlice = onSlice
    this.onClick = onClick
    this.canvas = canvas
    this.frame = frame
    this.fill = FILL_OPACITY // of the mask, beside its outline
    this.bySlice = true // whether each slice has greys of its own
    this.stretch = 1 // how many times thicker the image is shown than it is
    this.bare = false // only the image is shown
    this.clicking = false // whether a click on a voxel means something
    /** @type {Grid | null} */
    this.grid = null
    this.shown = true // whether the mask is
    /** @type {{ img: ArrayLike<number>, code: number, bits: number } | null} */
    this.values = null // intensities of the file
    /** @type {import('./grid.js').Box | null} */
    this.box = null // that is framed
    /** @type {PointerEvent | null} */
    this.down = null
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.45, 0.8, 1, 0.45], crosshairGap: 12, crosshairWidth: 0.25, dragAndDropEnabled: false,
      clipPlaneHotKey: '', cycleClipPlaneHotKey: '', viewModeHotKey: '', loadingText: '', maxDrawUndoBitmaps: 2, logLevel: 'error',
      isRuler: false, isColorbar: false, isOrientationTextVisible: false,
    })
    this.nv.onDrawingChanged = (action) => { if (action === 'draw') onStroke() }
    canvas.addEventListener('pointerdown', (event) => { this.down = event.isPrimary && event.button === 0 ? event : null })
    canvas.addEventListener('pointerup', (event) => { if (this.clicking && isClick(this.down, event)) this.click() })
  }

  /** Tell that the voxel under the crosshair is clicked on. */
  click() {
    if (this.grid) this.onClick(this.crosshair())
  }

  async start() {
    await this.nv.attachToCanvas(this.canvas)
    this.nv.setCustomLayout(LAYOUT)
    // niivue has no event after a redraw: its drawScene is wrapped. Tested with niivue 0.69.0.
    const draw = this.nv.drawScene.bind(this.nv)
    this.nv.drawScene = () => { const done = draw(); this.redrawn(); return done }
    this.nv.setDrawColormap({ R: [0, 229], G: [0, 72], B: [0, 77], A: [0, 255], labels: ['', 'vessel'] })
    this.maskShown = true
    this.canvas.addEventListener('wheel', (event) => this.wheel(event), { capture: true, passive: false })
  }

  /** @param {WheelEvent} event with Ctrl, or of two fingers on a touchpad: magnify; else niivue changes the slice */
  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return
    event.preventDefault()
    event.stopImmediatePropagation()
    this.zoomBy(Math.exp(-event.deltaY / 300))
  }

  get maskShown() {
    return this.shown
  }

  set maskShown(shown) {
    this.shown = shown
    this.showMask()
  }

  /** Show the mask as it is wanted: outline, fill, or neither. */
  showMask() {
    this.nv.setDrawOpacity(this.shown && !this.bare ? this.fill : 0)
    this.nv.drawScene()
  }

  /** @param {number} opacity of the mask inside its outline, in [0, 1] */
  setFill(opacity) {
    this.fill = opacity
    this.showMask()
  }

  /**
   * Show only the image, or all again.
   * @param {boolean} bare
   */
  showBare(bare) {
    if (this.bare === bare) return
    this.bare = bare
    if (this.nv.volumes[1]) this.nv.setOpacity(1, bare ? 0 : HEAT_OPACITY)
    this.showMask()
  }

  /**
   * Show an image and its mask in place of the ones before. Return the image's grid.
   * @param {ArrayBuffer} file NIfTI
   * @param {number[]} shape voxels along the file's axes, as the server states them
   * @param {Uint8Array} voxels of the mask, in the file's order
   */
  async open(file, shape, voxels) {
    const volume = await NVImage.loadFromUrl({ url: file, name: 'image.nii.gz', colormap: 'gray', colorbarVisible: false })
    const { drawingEnabled } = this.nv.opts
    this.close()
    this.stretch = stretchOf(shape, volume.hdr.affine)
    this.stretchDepth(volume)
    this.values = { img: volume.img, code: volume.hdr.datatypeCode, bits: volume.hdr.numBitsPerVoxel }
    this.grid = new Grid(volume.permRAS, shape)
    this.showGreys(volume)
    this.nv.addVolume(volume)
    // Of a drawing niivue reads header, orientation and voxels only. Tested with niivue 0.69.0.
    this.nv.loadDrawing({ hdr: volume.hdr, permRAS: volume.permRAS, img: voxels })
    this.nv.setDrawingEnabled(drawingEnabled)
    return this.grid
  }

  /**
   * Choose between greys of each slice and those of the whole stack.
   * @param {boolean} bySlice
   */
  setGreys(bySlice) {
    this.bySlice = bySlice
    const [volume] = this.nv.volumes
    if (!volume) return
    this.showGreys(volume)
    this.nv.updateGLVolume()
  }

  /** @param {NVImage} volume whose intensities are shown */
  showGreys(volume) {
    if (!this.grid || !this.values) return
    const { img, code, bits } = this.values
    volume.img = this.bySlice ? greys(img, this.grid.shape) : img
    volume.hdr.datatypeCode = this.bySlice ? 2 : code // uint8
    volume.hdr.numBitsPerVoxel = this.bySlice ? 8 : bits
    volume.calMinMax()
    if (this.bySlice) [volume.cal_min, volume.cal_max] = [0, 255]
  }

  /**
   * Show a volume thicker than it is, where its stack is thin; its header, and so what is saved, stays as it is.
   * @param {NVImage} volume
   */
  stretchDepth(volume) {
    const { hdr, permRAS } = volume
    const { affine, pixDims } = hdr
    hdr.affine = affine.map((row) => row.map((value, column) => (column === 2 ? value * this.stretch : value)))
    hdr.pixDims = pixDims.map((size, n) => (n === 3 ? size * this.stretch : size))
    volume.calculateRAS()
    const renamed = volume.permRAS.some((axis, n) => axis !== permRAS[n]) // so oblique is it
    Object.assign(hdr, { affine, pixDims })
    if (renamed) {
      this.stretch = 1
      volume.calculateRAS()
    }
  }

  close() {
    this.box = null
    this.nv.setDrawingEnabled(false)
    this.nv.closeDrawing()
    for (const volume of [...this.nv.volumes].reverse()) this.nv.removeVolume(volume)
  }

  /** The mask that is shown, and that the pen changes. niivue may replace it after a stroke: do not keep it. */
  get mask() {
    return this.nv.drawBitmap
  }

  /** Show what was changed in the mask. */
  refresh() {
    this.nv.refreshDrawing(true)
  }

  /** @param {ArrayBuffer} file NIfTI, in nats */
  async showHeat(file) {
    const [low, high] = UNCERTAINTY_NATS
    const heat = await NVImage.loadFromUrl({ url: file, name: 'heat.nii.gz', colormap: 'inferno', opacity: HEAT_OPACITY, cal_min: low, cal_max: high })
    this.stretchDepth(heat)
    this.nv.addVolume(heat)
  }

  hideHeat() {
    if (this.nv.volumes[1]) this.nv.removeVolume(this.nv.volumes[1])
  }

  get heat() {
    return this.nv.volumes.length > 1
  }

  /**
   * Frame a box and go there, so near that it fills a third of a view.
   * @param {import('./grid.js').Box} box
   */
  jump(box) {
    const { grid } = this
    if (!grid) return
    this.box = box
    this.goTo([0, 1, 2].map((a) => Math.floor((box[2 * a] + box[2 * a + 1] - 1) / 2)))
    const across = Math.max(box[1] - box[0], box[3] - box[2])
    this.centre(within(Math.max(grid.shape[0], grid.shape[1]) / (3 * across), LEAST_ZOOM, MOST_ZOOM))
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
  }

  /**
   * Bring the crosshair to the middle of each view, at a magnification.
   * @param {number} zoom 1 shows the whole image
   */
  centre(zoom) {
    const mm = this.nv.frac2mm(this.nv.scene.crosshairPos)
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

  /** Show the framed box again, or the whole image. */
  fit() {
    if (this.box) this.jump(this.box)
    else this.centre(1)
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
    const steps = [right, up, 0]
    grid.axis.forEach((axis, r) => { if (axis !== 2) ijk[axis] += (grid.flipped[r] ? -1 : 1) * steps[r] })
    ijk[2] += slices
    this.goTo(ijk)
    nv.drawScene()
  }

  /**
   * Show a slice of the file.
   * @param {number} slice from 0
   */
  showSlice(slice) {
    if (this.grid) this.move(0, 0, slice - this.crosshair()[2])
  }

  /** Return the voxel of the file under the crosshair. */
  crosshair() {
    const { nv, grid } = this
    if (!grid) throw new Error('No image is open.')
    return grid.toFile(grid.ras.map((n, r) => Math.min(n - 1, Math.max(0, Math.floor(nv.scene.crosshairPos[r] * n)))))
  }

  /**
   * @param {number | null} value 1 draws, 0 erases, null does neither
   * @param {number} size in voxels
   */
  pen(value, size) {
    this.nv.opts.penSize = size
    this.nv.setDrawingEnabled(value !== null)
    if (value !== null) this.nv.setPenValue(value, false)
  }

  /** Return the mask as a NIfTI file on the image's own grid. */
  async file() {
    return new Blob([await this.nv.saveImage({ filename: '', isSaveDrawing: true })])
  }

  redrawn() {
    const { nv, frame, grid } = this
    if (frame.width !== nv.canvas.width) frame.width = nv.canvas.width
    if (frame.height !== nv.canvas.height) frame.height = nv.canvas.height
    const pen = /** @type {CanvasRenderingContext2D} */ (frame.getContext('2d'))
    pen.clearRect(0, 0, frame.width, frame.height)
    if (!grid) return
    this.onSlice(this.crosshair()[2], grid.shape[2])
    if (this.bare) return
    const slices = shownSlices(nv)
    if (this.shown && this.mask) drawOutline(pen, slices, nv.scene.crosshairPos, grid.ras, this.mask)
    if (this.box) drawFrame(pen, slices, nv.scene.crosshairPos, grid, this.box)
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

/**
 * Return whether a press of the main button, or of one finger, ended where it began: dragging and pinching are no clicks.
 * @param {PointerEvent | null} down
 * @param {PointerEvent} up
 */
function isClick(down, up) {
  return down !== null && up.isPrimary && up.button === 0 && Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY) < 6
}
