// Help: the five steps of a review and all keys. Opened by ?; a first visitor is told of it.
import { element } from './panel.js'
import { t } from './texts.js'

const SEEN = 'minivess.helped'

/** Show the help. */
export function showHelp() {
  localStorage.setItem(SEEN, 'yes')
  element('helpView', HTMLDialogElement).showModal()
}

/** What a first visitor is told; '' for everybody else. */
export function firstHint() {
  return localStorage.getItem(SEEN) ? '' : t`First time here? Press ? for how it works, in five steps.`
}
