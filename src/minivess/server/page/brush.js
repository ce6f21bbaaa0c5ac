// The circle that shows how wide the pen is, at the pointer.

export class Brush {
  /**
   * @param {HTMLElement} circle over the views
   * @param {HTMLCanvasElement} canvas
   * @param {() => number} pixels CSS pixels a voxel in the main view
   */
  constructor(circle, canvas, pixels) {
    this.circle = circle
    this.pixels = pixels
    this.width = 0 // voxels; 0 shows nothing
    canvas.addEventListener('pointermove', (event) => this.move(event))
    canvas.addEventListener('pointerleave', () => { this.circle.hidden = true })
  }

  /** @param {number} width in voxels; 0 for a tool that does not draw */
  take(width) {
    this.width = width
    if (!width) this.circle.hidden = true
  }

  /** @param {PointerEvent} event */
  move(event) {
    this.circle.hidden = !this.width || event.pointerType === 'touch'
    const size = Math.max(3, this.width * this.pixels())
    const { style } = this.circle
    style.width = style.height = `${size}px`
    style.transform = `translate(${event.offsetX - size / 2}px, ${event.offsetY - size / 2}px)`
  }
}
