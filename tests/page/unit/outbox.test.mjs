import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Outbox } from '../../../src/minivess/server/page/outbox.js'
import { ScriptedServer, storage } from './helpers.mjs'

const entry = (path, more = {}) => ({ method: 'POST', path, ...more })

function outbox({ reply, room, user = 'ann', kept = storage(room) } = {}) {
  const server = new ScriptedServer(reply)
  const counts = []
  return { server, kept, counts, outbox: new Outbox(server, user, kept, (unsent, stored) => counts.push([unsent, stored])) }
}

test('post: stored before it is sent, gone after the reply', async () => {
  const { server, kept, counts, outbox: box } = outbox({ reply: () => { assert.equal(Object.keys(kept).length, 1); return { ok: 1 } } })
  assert.deepEqual((await box.post(entry('/a'))).reply, { ok: 1 })
  assert.deepEqual(server.requests, ['POST /a'])
  assert.deepEqual([box.size, Object.keys(kept).length, counts], [0, 0, [[1, true], [0, true]]])
})

for (const status of [0, 401, 408, 429, 500, 503]) {
  test(`send: ${status} is temporary: the entries stay, in order, and sending stops`, async () => {
    const { server, outbox: box } = outbox({ reply: () => status })
    assert.equal((await box.post(entry('/a'))).reply, null)
    assert.equal((await box.post(entry('/b'))).reply, null)
    assert.equal(box.stopped.status, status)
    assert.deepEqual(server.requests, ['POST /a', 'POST /a'])
    server.reply = () => ({})
    server.requests = []
    await box.send()
    assert.deepEqual([server.requests, box.size, box.stopped], [['POST /a', 'POST /b'], 0, null])
  })
}

test('send: entries of an earlier session are sent first, those of another user never', async () => {
  const kept = storage()
  for (const user of ['ann', 'ann.b']) await outbox({ reply: () => 0, user, kept }).outbox.post(entry(`/${user}`))
  const { server, outbox: box } = outbox({ kept })
  await box.post(entry('/new'))
  assert.deepEqual(server.requests, ['POST /ann', 'POST /new'])
  assert.equal(Object.keys(kept).length, 1)
})

test('send: in order also where the clock is set back', async (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 5000 })
  const { server, kept, outbox: box } = outbox({ reply: () => 0 })
  await box.post(entry('/a'))
  await box.post(entry('/b')) // in the same millisecond
  t.mock.timers.setTime(1000)
  await new Outbox(server, 'ann', kept, () => {}).post(entry('/c')) // after the page was loaded again
  server.reply = () => ({})
  server.requests = []
  await box.send()
  assert.deepEqual(server.requests, ['POST /a', 'POST /b', 'POST /c'])
})

test('post: a refusal is thrown, and the entry is removed', async () => {
  const { outbox: box } = outbox({ reply: () => 409 })
  await assert.rejects(box.post(entry('/a')), { status: 409 })
  assert.deepEqual([box.size, box.takeNotices()], [0, ''])
})

test('send: a late refusal is told once, and the others are sent', async () => {
  const { server, outbox: box } = outbox({ reply: () => 0 })
  for (const path of ['/a', '/b']) await box.post(entry(path))
  server.reply = (_, path) => (path === '/a' ? 422 : {})
  await box.send()
  assert.equal(box.size, 0)
  assert.match(box.takeNotices(), /Refused: status 422 It was sent late/)
  assert.equal(box.takeNotices(), '')
})

test('after: an entry is refused with the one before it, without being sent', async () => {
  const { server, outbox: box } = outbox({ reply: () => 0 })
  const { key } = await box.post(entry('/stroke'))
  await box.post(entry('/answer', { after: key }))
  await box.post(entry('/other'))
  server.reply = (_, path) => (path === '/stroke' ? 422 : {})
  server.requests = []
  await box.send()
  assert.deepEqual([server.requests, box.size], [['POST /stroke', 'POST /other'], 0])
  assert.equal(box.takeNotices().match(/Refused/g).length, 1)
  await assert.rejects(box.post(entry('/later', { after: key })), { status: 422 })
  assert.ok(!server.requests.includes('POST /later'))
})

test('after: refused with it also where the page was closed in between', async () => {
  const kept = storage()
  const first = outbox({ reply: () => 0, kept })
  const { key } = await first.outbox.post(entry('/stroke'))
  await first.outbox.post(entry('/other'))
  await first.outbox.post(entry('/answer', { after: key }))
  first.server.reply = (_, path) => (path === '/stroke' ? 422 : 0)
  await first.outbox.send() // the stroke is refused, then the server is away
  const { server, outbox: box } = outbox({ kept })
  await box.send()
  assert.deepEqual(server.requests, ['POST /other'])
})

test('after: sent where the one before it was sent', async () => {
  const { server, outbox: box } = outbox({ reply: () => 0 })
  const { key } = await box.post(entry('/stroke'))
  server.reply = () => ({})
  await box.send()
  assert.deepEqual((await box.post(entry('/answer', { after: key }))).reply, {})
})

for (const text of ['{"method": "POST", "pa', 'null', '[]', '{"method": "POST"}', '{"path": "/a"}', '']) {
  test(`send: a damaged entry is set aside, told once, and the others are sent: ${text}`, async () => {
    const { server, kept, outbox: box } = outbox({ reply: () => 0 })
    const { key } = await box.post(entry('/a'))
    await box.post(entry('/b'))
    await box.post(entry('/answer', { after: key }))
    kept.setItem(key, text)
    server.reply = () => ({})
    server.requests = []
    await box.send()
    assert.deepEqual([server.requests, box.size], [['POST /b'], 0])
    const [aside] = Object.keys(kept)
    assert.equal(kept.getItem(aside), text)
    assert.match(aside, /^minivess\.aside\.ann\./)
    assert.match(box.takeNotices(), /^Damaged, set aside .* not sent: 1.*Refused: The stroke is damaged/)
    await box.send()
    assert.equal(box.takeNotices(), '')
  })
}

test('post: without room it stays in memory, and the user is told', async () => {
  const { server, counts, outbox: box } = outbox({ reply: () => 0, room: 1 })
  for (const path of ['/a', '/b', '/c']) await box.post(entry(path))
  assert.deepEqual(counts.at(-1), [3, false])
  server.reply = () => ({})
  server.requests = []
  await box.send()
  assert.deepEqual(server.requests, ['POST /a', 'POST /b', 'POST /c'])
  assert.deepEqual(counts.at(-1), [0, true])
})

test('send: each entry is parsed once', async (t) => {
  const { server, outbox: box } = outbox({ reply: () => 0 })
  for (const path of ['/a', '/b', '/c']) await box.post(entry(path))
  server.reply = () => ({})
  const parse = t.mock.method(JSON, 'parse')
  await box.send()
  assert.equal(parse.mock.callCount(), 3)
})
