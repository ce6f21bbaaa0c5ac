// The views: image, mask, and uncertainty of the model. Only this file and tile.js touch niivue.
import { NVImage, Niivue, SLICE_TYPE } from './vendor/niivue.js'
import { stretchDepth, stretchOf } from './display.js'
import { boxOnCanvas, drawFrame } from './frame.js'
import { Grid } from './grid.js'
import { Intensities } from './intensities.js'
import { drawOutline } from './outline.js'
import { bindPinch } from './pinch.js'
import { Position } from './position.js'
import { drawSuspects } from './suspects.js'
import { shownSlices, voxelUnder } from './tile.js'

const LAYOUT = [
  { sliceType: SLICE_TYPE.AXIAL, position: [0, 0, 0.68, 1] },
  { sliceType: SLICE_TYPE.CORONAL, position: [0.69, 0, 0.31, 0.495] },
  { sliceType: SLICE_TYPE.SAGITTAL, position: [0.69, 0.505, 0.31, 0.495] },
]
const FILL_OPACITY = 0.15
const HEAT_OPACITY = 0.55
const UNCERTAINTY_NATS = [0.2, Math.LN2] // range of the colours

export class Viewer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLCanvasElement} frame a canvas over it
   * @param {{ onStroke: () => void, onClick: (ijk: number[]) => void, onSlice: (number: number, count: number) => void,
   *   onPoint: (ijk: number[] | null) => void, onWiden: (wider: boolean) => void, onFrame: (rectangle: number[]) => void }} events
   *   the pen is lifted; a voxel is clicked on; another slice is shown; the pointer is over a voxel, or leaves; the pen is to be wider or
   *   narrower; the region lies there in the main view: left, top, width, height in CSS pixels
   */
  constructor(canvas, frame, { onStroke, onClick, onSlice, onPoint, onWiden, onFrame }) {
    this.onSlice = onSlice
    this.onWiden = onWiden
    /** @type {Uint8Array | null} */
    this.beforeTouch = null // the mask when a finger came that may draw
    this.onFrame = onFrame
    this.onClick = onClick
    this.canvas = canvas
    this.frame = frame
    this.fill = FILL_OPACITY // of the mask, beside its outline
    this.bySlice = true // whether each slice has greys of its own
    this.slab = false // whether each slice is shown as the brightest of several
    /** @type {import('./suspects.js').SuspectedError[]} */
    this.suspects = [] // errors in the region
    this.suspected = 0 // the current one of them
    this.stretch = 1 // how many times thicker the image is shown than it is
    this.bare = false // only the image is shown
    /** @type {import('./comparison.js').Comparison | null} */
    this.comparison = null // of the mask with that of the model before
    this.clicking = false // whether a click on a voxel means something
    /** @type {Grid | null} */
    this.grid = null
    this.shown = true // whether the mask is
    /** @type {Intensities | null} */
    this.intensities = null // of the file
    /** @type {import('./grid.js').Box | null} */
    this.box = null // that is framed
    /** @type {PointerEvent | null} */
    this.down = null
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.45, 0.8, 1, 0.45], crosshairGap: 12, crosshairWidth: 0.25, dragAndDropEnabled: false,
      clipPlaneHotKey: '', cycleClipPlaneHotKey: '', viewModeHotKey: '', loadingText: '', maxDrawUndoBitmaps: 2, logLevel: 'error',
      isRuler: false, isColorbar: false, isOrientationTextVisible: false,
    })
    this.position = new Position(this.nv)
    this.nv.onDrawingChanged = (action) => { if (action === 'draw') onStroke() }
    canvas.addEventListener('pointerdown', (event) => { this.down = event.isPrimary && event.button === 0 ? event : null })
    canvas.addEventListener('pointermove', (event) => { onPoint(this.voxelAt(event.offsetX, event.offsetY)); this.swipe(event) })
    canvas.addEventListener('pointerleave', () => onPoint(null))
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
    bindPinch(this.canvas, {
      zoomBy: (factor) => this.position.zoomBy(factor),
      onFirst: () => { this.beforeTouch = this.nv.opts.drawingEnabled ? this.mask?.slice() ?? null : null },
      onSecond: () => this.forgetTouch(),
    })
  }

  /** @param {WheelEvent} event with Ctrl, or of two fingers on a touchpad: magnify; with Shift: widen the pen; else niivue changes the slice */
  wheel(event) {
    const widen = event.shiftKey && this.nv.opts.drawingEnabled
    if (!event.ctrlKey && !event.metaKey && !widen) return
    event.preventDefault()
    event.stopImmediatePropagation()
    if (widen) this.onWiden(event.deltaY + event.deltaX < 0) // with Shift some systems turn the wheel sideways
    else this.position.zoomBy(Math.exp(-event.deltaY / 300))
  }

  /** Put back what the first of two fingers has drawn. */
  forgetTouch() {
    this.down = null // it is no click either
    if (!this.beforeTouch || !this.mask) return
    this.mask.set(this.beforeTouch)
    this.refresh()
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
    this.nv.setDrawOpacity(this.shown && !this.bare && !this.comparison ? this.fill : 0)
    this.nv.drawScene()
  }

  /**
   * Compare the mask with another one, or end that.
   * @param {import('./comparison.js').Comparison | null} comparison
   */
  compare(comparison) {
    this.comparison = comparison
    this.showMask()
  }

  /** @param {PointerEvent} event over the picture: the line between two compared masks follows it */
  swipe(event) {
    if (!this.comparison) return
    const scale = this.canvas.width / this.canvas.clientWidth
    this.comparison.follow(shownSlices(this.nv), event.offsetX * scale, event.offsetY * scale)
    this.redrawn() // the picture below is the same
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
    this.stretch = stretchDepth(volume, stretchOf(shape, volume.hdr.affine))
    this.grid = this.position.grid = new Grid(volume.permRAS, shape)
    this.intensities = new Intensities(volume, shape)
    this.intensities.show(volume, this)
    this.nv.addVolume(volume)
    // Of a drawing niivue reads header, orientation and voxels only. Tested with niivue 0.69.0.
    this.nv.loadDrawing({ hdr: volume.hdr, permRAS: volume.permRAS, img: voxels })
    this.nv.setDrawingEnabled(drawingEnabled)
    this.position.goTo(shape.map((n) => Math.floor(n / 2)))
    this.position.centre(1) // not as the image before was seen
    return this.grid
  }

  /**
   * Choose between greys of each slice and those of the whole stack.
   * @param {boolean} bySlice
   */
  setGreys(bySlice) {
    this.bySlice = bySlice
    this.greysChanged()
  }

  /** Show each slice as the brightest of five, or as it is. */
  toggleSlab() {
    this.slab = !this.slab
    this.greysChanged()
    this.nv.drawScene()
  }

  greysChanged() {
    const [volume] = this.nv.volumes
    if (!volume) return
    this.intensities?.show(volume, this)
    this.nv.updateGLVolume()
  }

  close() {
    this.box = null
    this.comparison = null
    this.suspects = []
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
    stretchDepth(heat, this.stretch)
    this.nv.addVolume(heat)
  }

  hideHeat() {
    if (this.nv.volumes[1]) this.nv.removeVolume(this.nv.volumes[1])
  }

  get heat() {
    return this.nv.volumes.length > 1
  }

  /**
   * Frame a box and go there.
   * @param {import('./grid.js').Box} box
   * @param {number[]} [focus] voxel of the file, where the error is suspected; the middle where none is
   */
  jump(box, focus) {
    this.box = box
    this.position.show(box, focus)
  }

  /**
   * Draw suspected errors.
   * @param {import('./suspects.js').SuspectedError[]} errors
   * @param {number} current index of the one that is looked at
   */
  suspect(errors, current) {
    this.suspects = errors
    this.suspected = current
    this.redrawn() // the picture below is the same
  }

  /**
   * Put the crosshair on a voxel of the file; the magnification stays.
   * @param {number[]} ijk
   */
  look(ijk) {
    this.position.goTo(ijk)
    this.nv.drawScene()
  }

  /**
   * Return the voxel of the file at a point of the picture; null where there is none.
   * @param {number} x CSS pixels
   * @param {number} y
   */
  voxelAt(x, y) {
    const { canvas, grid, nv } = this
    const scale = canvas.width / canvas.clientWidth
    return grid && voxelUnder(shownSlices(nv), x * scale, y * scale, nv.scene.crosshairPos, grid)
  }

  /** Show the framed box again, or the whole image. */
  fit() {
    const { box } = this
    if (box) this.position.show(box, this.crosshair().map((n, a) => Math.min(box[2 * a + 1] - 1, Math.max(box[2 * a], n))))
    else this.position.centre(1)
  }

  /** The greys of the open image, in the file's order. */
  get bytes() {
    return this.intensities?.bytes ?? new Uint8Array()
  }

  /** Return the voxel of the file under the crosshair. */
  crosshair() {
    return this.position.crosshair()
  }

  /** CSS pixels that a voxel has in the main view. */
  get pixelsPerVoxel() {
    const [main] = shownSlices(this.nv)
    if (!main || !this.grid) return 1
    const [from, to] = [main.at([0, 0, 0]), main.at([1, 1, 1])]
    return Math.abs(to[0] - from[0]) / this.grid.ras[0] * this.canvas.clientWidth / this.canvas.width
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
    this.onSlice(this.position.slice, grid.ras[2])
    if (this.bare) return
    const slices = shownSlices(nv)
    if (this.comparison && this.mask) this.comparison.draw(pen, slices, nv.scene.crosshairPos, grid.ras, this.mask)
    else if (this.shown && this.mask) drawOutline(pen, slices, nv.scene.crosshairPos, grid.ras, this.mask)
    if (this.suspects.length) drawSuspects(pen, slices, nv.scene.crosshairPos, grid, this.suspects, this.suspected)
    if (this.box && slices[0]) this.onFrame(boxOnCanvas(slices[0], grid, this.box).map((v) => v * this.canvas.clientWidth / frame.width))
    if (this.box) drawFrame(pen, slices, nv.scene.crosshairPos, grid, this.box)
  }
}

/**
 * Return whether a press of the main button, or of one finger, ended where it began: dragging and pinching are no clicks.
 * @param {PointerEvent | null} down
 * @param {PointerEvent} up
 */
function isClick(down, up) {
  return down !== null && up.isPrimary && up.button === 0 && Math.hypot(up.clientX - down.clientX, up.clientY - down.clientY) < 6
}
