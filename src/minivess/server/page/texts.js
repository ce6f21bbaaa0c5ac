// Texts of the page: English here and in index.html, other languages in texts/LANGUAGE.json, with the keys of texts/en.json.

const ATTRIBUTES = ['title', 'aria-label', 'placeholder']

/** @type {Record<string, string>} */
let translated = {}

/**
 * Return a text in the language of the page; values are {0}, {1} ... in the file of a language.
 * @param {TemplateStringsArray} parts
 * @param {...unknown} values
 */
export function t(parts, ...values) {
  const english = parts.reduce((text, part, n) => `${text}{${n - 1}}${part}`)
  return inLanguage(english).replace(/\{(\d+)\}/g, (whole, n) => n in values ? String(values[n]) : whole)
}

/**
 * Return a word of the server, or a text of index.html, in the language of the page.
 * @param {string} english
 */
export function inLanguage(english) {
  return translated[english] || english
}

/** Take the first language of the browser that the page has, and put it into what index.html has written. */
export async function translatePage() {
  const known = document.querySelector('meta[name=languages]')?.getAttribute('content')?.split(' ') ?? []
  const language = navigator.languages.map((name) => name.split('-')[0] ?? '').find((name) => known.includes(name)) ?? 'en'
  if (language === 'en') return
  const reply = await fetch(`texts/${language}.json`)
  if (!reply.ok) return
  translated = await reply.json()
  document.documentElement.lang = language
  const nodes = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT)
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    if (node instanceof Text) node.data = node.data.replace(/\S.*\S|\S/s, (english) => inLanguage(english))
    else if (node instanceof Element) translateAttributes(node)
  }
}

/** @param {Element} element */
function translateAttributes(element) {
  for (const name of ATTRIBUTES) {
    const english = element.getAttribute(name)
    if (english) element.setAttribute(name, inLanguage(english))
  }
}
