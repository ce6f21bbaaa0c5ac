// Save something as a file on the user's computer.

/**
 * @param {Blob} content
 * @param {string} name of the file
 */
export function saveAs(content, name) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(content)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
