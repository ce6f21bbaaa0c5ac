// All images of the study: how far each is, and who works on it. A click opens one.
import { element } from './panel.js'
import { saveAs } from './save.js'
import { errorText } from './server.js'
import { t } from './texts.js'

const MOST = 200 // rows; the search finds the others
const WAIT_MS = 200 // after a letter
const REFRESH_MS = 5000 // while it is open

/**
 * What the server states of an image in the list.
 * @typedef {object} StudyImage
 * @property {string} image
 * @property {boolean} predicted
 * @property {boolean} newer_model
 * @property {number} places
 * @property {number} answered
 * @property {number} skipped
 * @property {number} rivals labels beside the current one that wait for a reviewer
 * @property {number} expected_errors_left
 * @property {string[]} who
 * @property {number | null} revision
 * @property {string} quality
 * @property {string} unreadable why the image could not be read
 */

/**
 * Return the state of an image in words.
 * @param {StudyImage} image
 */
export function stateOf({ predicted, newer_model: newer, places, answered, skipped, rivals, revision, unreadable }) {
  const open = places - answered + skipped // what somebody has skipped, others look at
  if (revision !== null && rivals) return t`label ${revision}, and ${rivals} of others: a reviewer decides (minivess store restore)`
  if (revision !== null) return open ? t`label ${revision}, ${open} regions open` : t`label ${revision}`
  if (!predicted) return unreadable ? t`cannot be read: ${unreadable}` : t`not segmented yet`
  if (!answered) return newer ? t`segmented by an older model` : t`segmented`
  return open ? t`in review` : t`reviewed, no label yet`
}

/**
 * Return a button of a row.
 * @param {string} text
 * @param {string} name for screen readers
 * @param {() => void} onClick
 */
function action(text, name, onClick) {
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = text
  button.setAttribute('aria-label', name)
  button.addEventListener('click', onClick)
  return button
}

/** @param {ArrayBuffer} file */
function isGzip(file) {
  return new DataView(file).getUint16(0) === 0x1f8b
}

export class Study {
  /**
   * @param {() => import('./server.js').Server | null} server
   * @param {(image: string) => void} onOpen an image is chosen
   * @param {() => void} onShow it is shown
   */
  constructor(server, onOpen, onShow) {
    this.onShow = onShow
    this.server = server
    this.onOpen = onOpen
    this.view = element('studyView', HTMLDialogElement)
    this.search = element('studySearch', HTMLInputElement)
    this.timer = 0
    this.listed = '' // as JSON
    this.refresh = 0
    this.search.addEventListener('input', () => {
      clearTimeout(this.timer)
      this.timer = setTimeout(() => this.fill(), WAIT_MS)
    })
    this.search.addEventListener('keydown', (event) => { if (event.key === 'Enter') event.preventDefault() }) // it would close the form
    this.view.addEventListener('close', () => { if (location.hash === '#study') history.replaceState(null, '', location.pathname) })
  }

  /** Show the list; its address is `/app/#study`. */
  async show() {
    history.replaceState(null, '', '#study')
    if (!this.view.open) {
      this.view.showModal()
      clearInterval(this.refresh)
      this.refresh = setInterval(() => (this.view.open ? this.fill() : clearInterval(this.refresh)), REFRESH_MS)
    }
    this.onShow()
    await this.fill()
  }

  async fill() {
    const server = this.server()
    if (!server) return
    const summary = element('studySummary', HTMLElement)
    try {
      const { total, images } = await server.json('GET', `/review/study?limit=${MOST}&search=${encodeURIComponent(this.search.value)}`)
      const more = total > images.length ? t`; the first ${images.length} are listed, search for the others` : ''
      summary.textContent = total ? t`Images: ${total}${more}.` : t`No image has this in its name.`
      if (JSON.stringify(images) === this.listed) return // no focus is lost
      this.listed = JSON.stringify(images)
      this.list(images)
    } catch (error) {
      summary.textContent = errorText(error)
    }
  }

  /** @param {string} image */
  async saveLabel(image) {
    try {
      const label = await /** @type {import('./server.js').Server} */ (this.server()).bytes(`/datastore/label?label=${encodeURIComponent(image)}&tag=final`)
      saveAs(new Blob([label]), `${image}-label${isGzip(label) ? '.nii.gz' : '.nrrd'}`)
    } catch (error) {
      element('studySummary', HTMLElement).textContent = errorText(error)
    }
  }

  /**
   * Save what is measured of the vessels of a label, as a table of one row.
   * @param {string} image
   * @param {number} revision
   */
  async saveMeasurements(image, revision) {
    const summary = element('studySummary', HTMLElement)
    try {
      summary.textContent = t`Measuring the vessels of ${image} ...`
      const measured = await /** @type {import('./server.js').Server} */ (this.server()).json('GET', `/labels/${encodeURIComponent(image)}/${revision}/measurements`)
      saveAs(new Blob([`${Object.keys(measured).join(',')}\n${Object.values(measured).join(',')}\n`], { type: 'text/csv' }), `${image}-measurements.csv`)
      summary.textContent = t`${image}: ${measured.length_mm.toFixed(2)} mm of vessels, ${measured.branch_points} branch points.`
    } catch (error) {
      summary.textContent = errorText(error)
    }
  }

  /** @param {StudyImage[]} images */
  list(images) {
    const focused = document.activeElement?.textContent
    const rows = images.map((image) => this.row(image))
    element('studyImages', HTMLTableSectionElement).replaceChildren(...rows)
    rows.map((row) => row.querySelector('button')).find((button) => button?.textContent === focused)?.focus()
  }

  /** @param {StudyImage} image */
  row(image) {
    const button = document.createElement('button')
    button.type = 'button'
    button.textContent = image.image
    button.addEventListener('click', () => { this.view.close(); this.onOpen(image.image) })
    const row = document.createElement('tr')
    const { revision } = image
    const save = revision === null ? '' : action(t`Save label`, t`Save the label of ${image.image} as a file`, () => this.saveLabel(image.image))
    const measure = revision === null ? '' : action(t`Measure`, t`Measure the vessels of ${image.image}, and save a table`, () => this.saveMeasurements(image.image, revision))
    const regions = image.places ? t`${image.answered} of ${image.places}` : ''
    const errors = image.places ? image.expected_errors_left.toFixed(1) : ''
    for (const content of [button, stateOf(image), image.quality, regions, errors, image.who.join(', '), save, measure]) {
      const cell = document.createElement('td')
      cell.append(content)
      row.append(cell)
    }
    return row
  }
}
