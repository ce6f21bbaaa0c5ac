// Let the model look at an image that it has not seen yet.

/** Ask the first model that segments, and say how far it is; gives a promise, and `stop`, which ends the job on the server. */
export function predict(server, image, show) {
  const id = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random().toString(36).slice(2)}`
  return { done: run(server, image, show, id), stop: () => server.ask('DELETE', `/jobs/${id}`).catch(() => {}) }
}

async function run(server, image, show, id) {
  const { models } = await server.json('GET', '/info/')
  const model = Object.keys(models).find((name) => models[name].type === 'segmentation')
  if (!model) throw new Error('No model of this server segments by itself.')
  let over = false
  const follow = setInterval(async () => {
    const job = await server.json('GET', `/jobs/${id}`).catch(() => null)
    if (job && !over) show.waiting(job.progress)
  }, 1000)
  show.message(`The model looks at ${image} ...`)
  show.waiting(0)
  try {
    const path = `/infer/${encodeURIComponent(model)}?image=${encodeURIComponent(image)}&output=json`
    await server.ask('POST', path, { headers: { 'X-Request-ID': id }, timeout_s: 3600 })
  } finally {
    over = true
    clearInterval(follow)
    show.waiting(null)
  }
}
