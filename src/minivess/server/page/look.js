// Light and dark colours: the system's, until the user changes them.

const STORED = 'minivess.look'

/** Take the look that was chosen before. */
export function restoreLook() {
  const look = localStorage.getItem(STORED)
  if (look) document.documentElement.dataset.look = look
}

/** Change between light and dark, and remember it. */
export function changeLook() {
  const { dataset } = document.documentElement
  const dark = dataset.look ? dataset.look === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
  dataset.look = dark ? 'light' : 'dark'
  localStorage.setItem(STORED, dataset.look)
}
