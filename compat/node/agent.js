// The agent for KafkaJS: answers the commands of ../README.md. Takes the bootstrap address.
//
// KafkaJS pushes records to a handler and reads only as a member of a group: a queue stands
// between its handler and the commands, and `consume` joins a group that nobody else knows.
'use strict'

const { randomUUID } = require('node:crypto')
const { once, EventEmitter } = require('node:events')
const readline = require('node:readline')
const { setTimeout: sleep } = require('node:timers/promises')
const zstd = require('@bokuweb/zstd-wasm')
const {
  CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, Partitioners, logLevel,
} = require('kafkajs')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { version } = require('kafkajs/package.json')

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}
const ACKS = { all: -1, 1: 1, 0: 0 }
const TOPIC_ALREADY_EXISTS = 36
const REQUEST_MS = 20_000
const SETTLING_MS = 5_000
const UNKNOWN_TOPIC = 3
// One answer to a fetch decompresses to less than this in every scenario.
const ZSTD_BYTES = 32 << 20

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer, { defaultHeapSize: ZSTD_BYTES })),
})

const toText = data => (data === null || data === undefined ? null : data.toString('base64'))
const toBytes = text => (text === null ? null : Buffer.from(text, 'base64'))

function taken(topic, partition, message) {
  const headers = Object.entries(message.headers ?? {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map(each => [name, toText(each)]))
  return {
    topic,
    p: partition,
    o: Number(message.offset),
    t: Number(message.timestamp),
    k: toText(message.key),
    v: toText(message.value),
    h: headers,
  }
}

function made({ k, v, h, p, t }) {
  const headers = {}
  for (const [name, data] of h) {
    const value = toBytes(data)
    headers[name] = name in headers ? [headers[name], value].flat() : value
  }
  const message = { key: toBytes(k), value: toBytes(v), headers }
  if (p !== null) message.partition = p
  if (t !== null) message.timestamp = String(t)
  return message
}

// KafkaJS takes it as final that a topic which was just made is not there yet.
async function settled(action) {
  const deadline = Date.now() + SETTLING_MS
  for (;;) {
    try {
      return await action()
    } catch (error) {
      if (codeOf(error) !== UNKNOWN_TOPIC || Date.now() > deadline) throw error
      await sleep(50)
    }
  }
}

const sizeOf = message => (message.key?.length ?? 0) + (message.value?.length ?? 0)

// KafkaJS sends what it is given as one batch for each partition: this cuts it to size.
function chunks(messages, largest) {
  const found = [[]]
  let size = 0
  for (const message of messages) {
    const last = found.at(-1)
    if (last.length > 0 && size + sizeOf(message) > largest) {
      found.push([])
      size = 0
    }
    size += sizeOf(message)
    found.at(-1).push(message)
  }
  return found
}

// The offset of each message, where KafkaJS's answer tells it.
function placed(messages, stored) {
  const next = new Map(stored.map(each => [each.partition, Number(each.baseOffset)]))
  return messages.map(({ partition }) => {
    const offset = next.get(partition)
    next.set(partition, offset + 1)
    return [partition, offset]
  })
}

class Member {
  constructor(consumer) {
    this.consumer = consumer
    this.records = []
    this.assigned = []
    this.events = []
    this.more = new EventEmitter()
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = Object.entries(payload.memberAssignment).flatMap(([topic, partitions]) =>
        partitions.map(partition => [topic, partition]))
      this.events.push(['assigned', this.assigned])
    })
    consumer.on(consumer.events.REBALANCING, () => {
      this.events.push(['revoked', this.assigned])
      this.assigned = []
    })
  }

  async run(topics, fromBeginning) {
    await this.consumer.connect()
    await settled(() => this.consumer.subscribe({ topics, fromBeginning }))
    await this.consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        const { topic, partition, messages } = batch
        this.records.push(...messages.map(message => taken(topic, partition, message)))
        this.more.emit('records')
      },
    })
  }

  // What came, or comes within a time.
  async take(ms) {
    if (this.records.length === 0) {
      await once(this.more, 'records', { signal: AbortSignal.timeout(ms) }).catch(() => {})
    }
    return this.records.splice(0)
  }
}

class Agent {
  constructor(bootstrap) {
    this.kafka = new Kafka({
      brokers: [bootstrap],
      logLevel: logLevel.NOTHING,
      requestTimeout: REQUEST_MS,
      retry: { initialRetryTime: 50, retries: 8 },
    })
    this.admin = null
    this.member = null
  }

  async administrator() {
    if (this.admin === null) {
      this.admin = this.kafka.admin()
      await this.admin.connect()
    }
    return this.admin
  }

  version() {
    return { version: `KafkaJS ${version}` }
  }

  async produce({
    topic, records, codec = 'none', acks = 'all', idempotent = false, max_request = 1_000_000,
  }) {
    const producer = this.kafka.producer({
      idempotent,
      createPartitioner: Partitioners.DefaultPartitioner,
      ...(idempotent ? { maxInFlightRequests: 1 } : {}),
    })
    await producer.connect()
    try {
      const offsets = []
      for (const messages of chunks(records.map(made), max_request)) {
        const stored = await settled(() => producer.send({
          topic, messages, acks: ACKS[acks], compression: CODECS[codec],
        }))
        if (acks !== '0' && messages.every(each => each.partition !== undefined)) {
          offsets.push(...placed(messages, stored))
        }
      }
      return { offsets }
    } finally {
      await producer.disconnect()
    }
  }

  async consume({ topic, starts, count, timeout_ms }) {
    const consumer = this.kafka.consumer({
      groupId: `kafkajs-agent-${randomUUID()}`, maxWaitTimeInMs: 100, allowAutoTopicCreation: false,
    })
    const member = new Member(consumer)
    const next = new Map(starts)
    const found = []
    const deadline = Date.now() + timeout_ms
    try {
      await member.run([topic], true)
      for (const [partition, offset] of starts) {
        consumer.seek({ topic, partition, offset: String(offset) })
      }
      while (found.length < count && Date.now() < deadline) {
        for (const record of await member.take(200)) {
          // Some may have come before the seek: others, or the same ones once more.
          if (record.o >= (next.get(record.p) ?? Infinity)) {
            next.set(record.p, record.o + 1)
            found.push(record)
          }
        }
      }
    } finally {
      await consumer.disconnect()
    }
    return { records: found.slice(0, count) }
  }

  async offsets({ topic, partitions }) {
    const admin = await this.administrator()
    const found = await settled(() => admin.fetchTopicOffsets(topic))
    const offsets = Array(partitions).fill(null)
    for (const { partition, low, high } of found) offsets[partition] = [Number(low), Number(high)]
    return { offsets }
  }

  async offset_for_time({ topic, partition, t }) {
    const admin = await this.administrator()
    const of = list => list.find(each => each.partition === partition)
    const { offset } = of(await admin.fetchTopicOffsetsByTimestamp(topic, t))
    const { high } = of(await admin.fetchTopicOffsets(topic))
    // KafkaJS tells the end where no record is late enough.
    return { offset: offset === high ? -1 : Number(offset) }
  }

  async subscribe({ group, topics, session_ms = 6000, reset = 'earliest', fetch_wait_ms = 500 }) {
    const admin = await this.administrator()
    for (const topic of topics) await settled(() => admin.fetchTopicOffsets(topic))
    this.member = new Member(this.kafka.consumer({
      groupId: group,
      sessionTimeout: session_ms,
      heartbeatInterval: 500,
      maxWaitTimeInMs: fetch_wait_ms,
      metadataMaxAge: 1000,
      allowAutoTopicCreation: false,
    }))
    // KafkaJS says that it runs when it has joined, for which another member may have to poll.
    this.running = this.member.run(topics, reset === 'earliest')
    this.running.catch(error => { this.failed = error })
  }

  async poll({ ms }) {
    if (this.failed) throw this.failed
    const records = await this.member.take(ms)
    return { records, assigned: this.member.assigned, events: this.member.events.splice(0) }
  }

  async commit({ offsets }) {
    await this.member.consumer.commitOffsets(offsets.map(([topic, partition, offset, metadata]) => (
      { topic, partition, offset: String(offset), metadata })))
  }

  async committed({ group, topic, partitions }) {
    const admin = await this.administrator()
    const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
    const committed = Array(partitions).fill(null)
    for (const { partition, offset, metadata } of found.partitions) {
      if (Number(offset) >= 0) committed[partition] = [Number(offset), metadata ?? '']
    }
    return { committed }
  }

  async close() {
    const { member } = this
    this.member = null
    await member.consumer.disconnect()
  }

  async init_transactions({ transactional_id }) {
    const producer = this.kafka.producer({
      transactionalId: transactional_id, idempotent: true, maxInFlightRequests: 1,
    })
    await producer.connect()
    try {
      const transaction = await producer.transaction()
      await transaction.abort()
    } finally {
      await producer.disconnect()
    }
  }

  async create_topic({ topic, partitions, configs = {} }) {
    const admin = await this.administrator()
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
    const created = await admin.createTopics({
      topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }],
    })
    if (!created) {
      throw Object.assign(new Error(`${topic} exists already`), { code: TOPIC_ALREADY_EXISTS })
    }
  }

  async delete_topic({ topic }) {
    await (await this.administrator()).deleteTopics({ topics: [topic] })
  }

  async add_partitions({ topic, partitions }) {
    const admin = await this.administrator()
    await admin.createPartitions({ topicPartitions: [{ topic, count: partitions }] })
  }

  async delete_records({ topic, partition, before }) {
    const admin = await this.administrator()
    await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
  }

  async topics() {
    const { topics } = await (await this.administrator()).fetchTopicMetadata()
    return { topics: Object.fromEntries(topics.map(each => [each.name, each.partitions.length])) }
  }

  async groups() {
    const { groups } = await (await this.administrator()).listGroups()
    return { groups: groups.map(group => group.groupId) }
  }

  async describe_group({ group }) {
    const { groups: [found] } = await (await this.administrator()).describeGroups([group])
    return { state: found.state, members: found.members.length }
  }

  async delete_group({ group }) {
    await (await this.administrator()).deleteGroups([group])
  }

  async topic_config({ topic }) {
    const { resources: [found] } = await (await this.administrator()).describeConfigs({
      includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    })
    const entries = found.configEntries.map(entry => [entry.configName, entry.configValue])
    return { config: Object.fromEntries(entries) }
  }

  async set_topic_config({ topic, name, value }) {
    await (await this.administrator()).alterConfigs({
      validateOnly: false,
      resources: [{
        type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }],
      }],
    })
  }

  async cluster() {
    const found = await (await this.administrator()).describeCluster()
    return { brokers: found.brokers.length, id: found.clusterId }
  }

  async quit() {
    if (this.member !== null) await this.close()
    if (this.admin !== null) await this.admin.disconnect()
  }
}

// The code of Kafka's protocol; several errors at once are judged by the first.
function codeOf(error) {
  const first = error.errors?.[0] ?? error.groups?.[0] ?? error.cause ?? error
  return first.code ?? first.errorCode ?? error.code ?? null
}

async function main(bootstrap) {
  await zstd.init()
  const agent = new Agent(bootstrap)
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...fields } = JSON.parse(line)
    let answer
    try {
      answer = { ok: true, ...(await agent[name](fields)) }
    } catch (error) {
      answer = { ok: false, code: codeOf(error), error: `${error.name}: ${error.message}` }
    }
    process.stdout.write(JSON.stringify(answer) + '\n')
    if (name === 'quit') break
  }
  process.exit(0)
}

main(process.argv[2])
