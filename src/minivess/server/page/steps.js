// The steps of the user's draft as a list, the newest first: a click undoes all back to there.
import { slicesOf } from './grid.js'
import { element } from './panel.js'
import { errorText } from './server.js'
import { t } from './texts.js'

/** @typedef {{ name: string, voxels: number, box: import('./grid.js').Box }} Step */

export class Steps {
  /**
   * @param {() => import('./review.js').Review | null} review
   * @param {(count: number) => void} onUndo so many of the newest steps are to be undone
   */
  constructor(review, onUndo) {
    this.review = review
    this.onUndo = onUndo
    this.view = element('steps', HTMLDetailsElement)
    this.view.addEventListener('toggle', () => this.fill())
  }

  /** Read the list again, where it is open. */
  async fill() {
    const review = this.review()
    if (!this.view.open || !review?.image) return
    try {
      /** @type {{ steps: Step[] }} */
      const { steps } = await review.server.json('GET', `${review.image.path}/draft`)
      this.list(steps.reverse(), review.viewer.grid)
    } catch (error) {
      element('noSteps', HTMLElement).textContent = errorText(error)
    }
  }

  /**
   * @param {Step[]} steps the newest first
   * @param {import('./grid.js').Grid | null} grid of the image
   */
  list(steps, grid) {
    element('noSteps', HTMLElement).textContent = steps.length ? '' : t`No step that can be undone.`
    element('stepRows', HTMLOListElement).replaceChildren(...steps.map(({ name, voxels, box }, index) => {
      const button = document.createElement('button')
      button.type = 'button'
      button.textContent = t`${name}, ${voxels} voxels, slice ${slicesOf(box, grid).first + 1}`
      button.title = index ? t`Undo this step and the ${index} after it` : t`Undo this step`
      button.addEventListener('click', () => this.onUndo(index + 1))
      const row = document.createElement('li')
      row.append(button)
      return row
    }))
  }
}
