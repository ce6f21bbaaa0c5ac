// What the page shows beside the views: messages, progress, the current region, the queue, and the form that asks for a token.
import { stateInWords } from './regions.js'
import { inLanguage, t } from './texts.js'

/**
 * Return an element of the page.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 */
export function element(id, kind) {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}.`)
  return found
}

const text = (/** @type {string} */ id) => element(id, HTMLElement)

export class Panel {
  /** @param {(item: import('./regions.js').QueueItem) => void} onChoose an item of the queue is chosen */
  constructor(onChoose) {
    this.onChoose = onChoose
    this.filter = element('filter', HTMLSelectElement)
    /** @type {Map<string, string>} */
    this.notes = new Map() // by region, of those that are not answered yet
    this.noted = '' // the region that the note in the field is for
    /** @type {[import('./regions.js').QueueItem[], import('./regions.js').QueueItem | null]} */
    this.listed = [[], null]
    this.filter.addEventListener('change', () => this.queue(...this.listed))
    window.addEventListener('resize', () => this.keepCurrentInView())
  }

  /** A smaller window has shorter lists: show the row of the current item again. */
  keepCurrentInView() {
    for (const row of this.rows) if (row.getAttribute('aria-current') === 'true') scrollTo(row)
  }

  /**
   * Show how far the model is.
   * @param {number | null} share in [0, 1]; null where nothing is waited for
   */
  waiting(share) {
    text('waiting').hidden = share === null
    if (share !== null) element('share', HTMLProgressElement).value = share
  }

  /**
   * Ask for a token; the image and what is unsent stay.
   * @param {string} reason
   */
  askForToken(reason) {
    sessionStorage.removeItem('minivess.token')
    localStorage.removeItem('minivess.token')
    const token = element('token', HTMLInputElement)
    token.value = ''
    this.connected(false)
    this.connectMessage(reason)
    token.focus()
  }

  /** @param {boolean} connected */
  connected(connected) {
    text('connect').hidden = connected
    for (const id of ['work', 'study', 'leave', 'bar']) text(id).hidden = !connected
    if (connected) this.connectMessage('')
  }

  /** @param {string} message */
  connectMessage(message) {
    text('connectMessage').textContent = message
  }

  /**
   * @param {string} message
   * @param {boolean} [bad]
   */
  message(message, bad = false) {
    text('message').textContent = message
    text('message').classList.toggle('bad', bad)
  }

  /** @param {string} more what is to be read beside the message that is shown */
  alsoSay(more) {
    text('message').textContent = [text('message').textContent, more].filter(Boolean).join(' ')
  }

  /** @param {import('./image.js').Progress} progress as the server states it */
  progress({ places, answered, errors_handled: handled, errors_in_queue: inQueue, seconds_left_range: [low, high], checks, checks_right: right }) {
    const errors = t`${percent(handled)} of the image's expected errors handled (the queue holds ${percent(inQueue)})`
    const left = answered < places ? t`, ${duration(low, high)} left` : ''
    const checked = checks ? t`; right at ${right} of ${checks} places drawn at random` : ''
    text('progress').textContent = t`${answered} of ${places} regions, about ${errors}${left}${checked}`
  }

  /**
   * Ask whether the mask is submitted although regions are open. Return whether it is.
   * @param {import('./image.js').Progress} progress
   */
  confirmSubmission({ places, answered, skipped, errors_handled: handled }) {
    const open = places - answered + skipped
    return open === 0 || confirm(
      `${t`${open} of ${places} regions are open, and only ${percent(handled)} of the errors that the model expects are handled.`}\n\n` +
      t`Submit the mask all the same? The next training learns only what was answered or drawn.`)
  }

  /** @param {string} words what the model says at the pointer */
  point(words) {
    text('point').textContent = words
  }

  /** What the user has written about the current region. */
  get note() {
    return element('note', HTMLInputElement).value.trim()
  }

  set note(text) {
    element('note', HTMLInputElement).value = text
  }

  /** @param {import('./regions.js').QueueItem | null} item */
  region(item) {
    this.notes.set(this.noted, this.note)
    this.noted = item?.id ?? ''
    this.note = this.notes.get(this.noted) ?? ''
    text('region').textContent = item ? `${inLanguage(item.kind)}: ${item.reason}` : ''
    this.mark(item)
  }

  /**
   * Show the queue. A row stays the same element while its item is listed, so that neither a click nor the focus is lost when the list is fetched again.
   * @param {import('./regions.js').QueueItem[]} items
   * @param {import('./regions.js').QueueItem | null} current
   */
  queue(items, current) {
    this.listed = [items, current]
    const table = element('queue', HTMLTableSectionElement)
    const shown = new Map([...table.rows].map((row) => [row.dataset.id, row]))
    const rows = items.flatMap((item, rank) => (this.isListed(item) ? [this.fill(shown.get(item.id) ?? this.row(item), item, rank)] : []))
    if (rows.length !== table.rows.length || rows.some((row, n) => row !== table.rows[n])) {
      const focused = document.activeElement
      table.replaceChildren(...rows)
      if (focused instanceof HTMLElement && table.contains(focused)) focused.focus()
    }
    this.mark(current)
  }

  /**
   * Mark the row of the current item, and bring it into view.
   * @param {import('./regions.js').QueueItem | null} current
   */
  mark(current) {
    for (const row of this.rows) {
      const here = row.dataset.id === current?.id
      if (here && row.getAttribute('aria-current') !== 'true') scrollTo(row)
      row.setAttribute('aria-current', String(here))
    }
  }

  /**
   * Whether the user wants to see an item in the list.
   * @param {import('./regions.js').QueueItem} item
   */
  isListed({ state, kind }) {
    const open = state === 'pending' || state === 'leased'
    return { all: true, open, answered: !open }[this.filter.value] ?? kind === this.filter.value
  }

  get rows() {
    return element('queue', HTMLTableSectionElement).rows
  }

  /** @param {import('./regions.js').QueueItem} item */
  row(item) {
    const row = document.createElement('tr')
    row.dataset.id = item.id
    const button = document.createElement('button') // a button can be reached by the keyboard
    button.type = 'button'
    row.append(...Array.from({ length: 4 }, () => document.createElement('td')))
    row.cells[1]?.append(button)
    return row
  }

  /**
   * Write an item into its row.
   * @param {HTMLTableRowElement} row
   * @param {import('./regions.js').QueueItem} item
   * @param {number} rank from 0
   */
  fill(row, item, rank) {
    row.title = item.answer?.note ? t`${item.reason}. Note: ${item.answer.note}` : item.reason
    row.onclick = () => this.onChoose(item)
    const texts = [String(rank + 1), inLanguage(item.kind), item.expected_errors.toFixed(1), stateInWords(item.state)]
    texts.forEach((text, n) => { (row.cells[n]?.querySelector('button') ?? row.cells[n] ?? row).textContent = text })
    return row
  }
}

/**
 * Bring a row into view inside the list; the panel around it stays where it is.
 * @param {HTMLTableRowElement} row
 */
function scrollTo(row) {
  const list = text('list')
  const [above, below] = [row.getBoundingClientRect().top - list.getBoundingClientRect().top, row.offsetHeight - list.clientHeight]
  if (above < 0) list.scrollTop += above
  else if (above + below > 0) list.scrollTop += above + below
}

/** @param {number} share */
function percent(share) {
  return `${Math.round(100 * share)} %`
}

/**
 * Return a range of time in words.
 * @param {number} low seconds
 * @param {number} high seconds
 */
function duration(low, high) {
  if (high < 90) return t`${Math.round(low)} to ${Math.round(high)} s`
  return t`${Math.max(1, Math.round(low / 60))} to ${Math.round(high / 60)} min`
}
