import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, test } from 'node:test'
import { Server, ServerError, formOf, isTemporary } from '../../../src/minivess/server/page/server.js'

const http = createServer((request, response) => {
  const body = []
  request.on('data', (part) => body.push(part))
  request.on('end', () => answer(request, Buffer.concat(body).toString(), response))
})
await new Promise((done) => http.listen(0, '127.0.0.1', done))
after(() => { http.closeAllConnections(); http.close() })
const url = `http://127.0.0.1:${http.address().port}`

function answer({ method, url: path, headers }, body, response) {
  const status = Number(path.slice(1))
  if (path === '/slow') return
  if (path === '/cut') {
    response.writeHead(200, { 'Content-Length': '100' })
    response.write('{"half":')
    setTimeout(() => response.destroy(), 20)
  } else if (path === '/text') response.writeHead(500).end('out of memory')
  else if (status) response.writeHead(status).end(JSON.stringify({ detail: `because of ${status}` }))
  else response.end(JSON.stringify({ method, body, type: headers['content-type'], token: headers.authorization }))
}

test('json: method, token and body reach the server', async () => {
  const server = new Server('abc')
  const posted = await server.json('POST', `${url}/`, { body: { box: [1, 2] } })
  assert.deepEqual(posted, { method: 'POST', body: '{"box":[1,2]}', type: 'application/json', token: 'Bearer abc' })
  assert.equal((await server.json('GET', `${url}/`)).body, '')
  const form = await server.json('POST', `${url}/`, { form: formOf({ verdict: 'accepted', label: new File(['x'], 'a.nii') }) })
  assert.match(form.type, /^multipart\/form-data/)
  assert.match(form.body, /name="verdict"\r\n\r\naccepted/)
  assert.match(form.body, /filename="a.nii"/)
})

test('json: what the server says of a refusal is the message', async () => {
  const refused = await new Server('').json('GET', `${url}/422`).catch((error) => error)
  assert.deepEqual([refused.status, refused.message, refused.temporary], [422, 'because of 422', false])
  await assert.rejects(new Server('').json('GET', `${url}/text`), { status: 500, message: 'out of memory' })
  await assert.rejects(new Server('').json('GET', `${url}/401`), { status: 401, message: /token is not valid.*new token/ })
})

test('temporary: no reply, 401, 408, 429 and 5xx, and nothing else', () => {
  const temporary = [0, 401, 408, 429, 500, 502, 503].filter((status) => new ServerError(status, '').temporary)
  assert.deepEqual(temporary, [0, 401, 408, 429, 500, 502, 503])
  assert.ok(![400, 403, 404, 409, 413, 415, 421, 422].some((status) => new ServerError(status, '').temporary))
  assert.ok(!isTemporary(new Error('a mistake')))
})

test('json: no server, a late reply and a reply that is cut off have status 0', async () => {
  const server = new Server('')
  await assert.rejects(server.json('GET', 'http://127.0.0.1:1/'), { status: 0, message: 'The server does not answer.' })
  await assert.rejects(server.json('GET', `${url}/slow`, { timeout_s: 0.05 }), { status: 0, message: /within 0.05 s/ })
  await assert.rejects(server.json('POST', `${url}/cut`), { status: 0 })
  await assert.rejects(server.bytes(`${url}/cut`), { status: 0 })
})
